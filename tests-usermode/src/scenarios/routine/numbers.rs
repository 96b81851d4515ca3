//! Interlocked numbers, and the processor's.

use interlock_abi::{Call, Routine};

use super::{call, check, found, leaving, number};
use crate::scenarios::session::{Session, Tally};
use crate::scenarios::{Context, Scenario, Verdict, ensure, scenario};

/// -1, in 32 bits.
const MINUS_ONE: u64 = 0xFFFF_FFFF;
/// The largest and the smallest signed number of 32 bits.
const I32_MAX: u64 = 0x7FFF_FFFF;
const I32_MIN: u64 = 0x8000_0000;
/// The largest and the smallest signed number of 64 bits.
const I64_MAX: u64 = 0x7FFF_FFFF_FFFF_FFFF;
const I64_MIN: u64 = 0x8000_0000_0000_0000;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "routine::ExInterlockedAddUlong::returns_the_original",
        "a sum of 32 bits wraps, and what it was before is returned",
        &[Routine::ExInterlockedAddUlong],
        add_ulong,
    ),
    scenario(
        "routine::ExInterlockedAddLargeInteger::returns_the_original",
        "a signed sum of 64 bits wraps, and what it was before is returned",
        &[Routine::ExInterlockedAddLargeInteger],
        add_large_integer,
    ),
    scenario(
        "routine::InterlockedIncrement::returns_the_new",
        "an increment returns the new number, which wraps to the smallest",
        &[Routine::InterlockedIncrement],
        increment,
    ),
    scenario(
        "routine::InterlockedDecrement::returns_the_new",
        "a decrement returns the new number, which wraps to the largest",
        &[Routine::InterlockedDecrement],
        decrement,
    ),
    scenario(
        "routine::InterlockedExchange::returns_the_old",
        "an exchange returns the old number and leaves the new",
        &[Routine::InterlockedExchange],
        exchange,
    ),
    scenario(
        "routine::KeGetCurrentProcessorNumber::is_one_that_there_is",
        "the processor is one that the system can have, and the same at DISPATCH_LEVEL",
        &[Routine::KeGetCurrentProcessorNumber],
        current_processor_number,
    ),
];

fn add_ulong(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedAddUlong,
        &[
            (call(0, [0]), leaving(number(0), [0])),
            (call(5, [10]), leaving(number(10), [15])),
            (call(1, [MINUS_ONE]), leaving(number(MINUS_ONE), [0])),
            (call(MINUS_ONE, [10]), leaving(number(10), [9])),
            (
                call(MINUS_ONE, [MINUS_ONE]),
                leaving(number(MINUS_ONE), [MINUS_ONE - 1]),
            ),
        ],
    )
}

fn add_large_integer(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedAddLargeInteger,
        &[
            (call(0, [0]), leaving(number(0), [0])),
            (call(5, [10]), leaving(number(10), [15])),
            // A carry out of the lower half.
            (call(1, [MINUS_ONE]), leaving(number(MINUS_ONE), [1 << 32])),
            (call(1, [u64::MAX]), leaving(number(u64::MAX), [0])),
            (call(u64::MAX, [0]), leaving(number(0), [u64::MAX])),
            (call(1, [I64_MAX]), leaving(number(I64_MAX), [I64_MIN])),
            (
                call(u64::MAX, [I64_MIN]),
                leaving(number(I64_MIN), [I64_MAX]),
            ),
        ],
    )
}

/// The answer of a routine that returns the new number.
fn returns_new(routine: Routine, numbers: &[(u64, u64)]) -> Verdict {
    let numbers = numbers.iter();
    let expected = numbers.map(|(old, new)| (call(0, [*old]), leaving(number(*new), [*new])));
    check(routine, &expected.collect::<Vec<_>>())
}

fn increment(_: &Context) -> Verdict {
    returns_new(
        Routine::InterlockedIncrement,
        &[(0, 1), (41, 42), (MINUS_ONE, 0), (I32_MAX, I32_MIN)],
    )
}

fn decrement(_: &Context) -> Verdict {
    returns_new(
        Routine::InterlockedDecrement,
        &[(1, 0), (42, 41), (0, MINUS_ONE), (I32_MIN, I32_MAX)],
    )
}

fn exchange(_: &Context) -> Verdict {
    check(
        Routine::InterlockedExchange,
        &[
            (call(2, [1]), leaving(number(1), [2])),
            (call(0, [MINUS_ONE]), leaving(number(MINUS_ONE), [0])),
            (call(MINUS_ONE, [0]), leaving(number(0), [MINUS_ONE])),
            (call(7, [7]), leaving(number(7), [7])),
        ],
    )
}

/// Which processor it is nobody knows, but that there is such a one.
fn current_processor_number(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let processors = u64::from(session.device.statistics()?.processors);
    for _ in 0..context.rounds(100) {
        let routine = Routine::KeGetCurrentProcessorNumber;
        let returned = session.device.call_routine(routine, &Call::default())?;
        let expected = leaving(found(returned.value), [processors]);
        ensure(returned.value < processors && returned == expected, || {
            format!("there can be {processors} processors, and it answers {returned:?}")
        })?;
    }
    session.settle(Tally::default())
}
