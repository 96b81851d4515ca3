//! Interlocked numbers, and the number of the processor.

use interlock_abi::{Call, Routine};

use super::{found, leaving, number};
use crate::error::{Result, ensure};
use crate::scenarios::{Scenario, Session, Tally};

/// -1, in 32 bits.
const MINUS_ONE: u64 = 0xFFFF_FFFF;
/// The largest and the smallest signed number of 32 bits.
const I32_MAX: u64 = 0x7FFF_FFFF;
const I32_MIN: u64 = 0x8000_0000;
/// The largest and the smallest signed number of 64 bits.
const I64_MAX: u64 = 0x7FFF_FFFF_FFFF_FFFF;
const I64_MIN: u64 = 0x8000_0000_0000_0000;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = routines! {
    ExInterlockedAddUlong::returns_the_original,
        "a 32-bit sum wraps, and the original value is returned",
        calls! {
            0, [0] => number(0), [0];
            5, [10] => number(10), [15];
            1, [MINUS_ONE] => number(MINUS_ONE), [0];
            MINUS_ONE, [10] => number(10), [9];
            MINUS_ONE, [MINUS_ONE] => number(MINUS_ONE), [MINUS_ONE - 1];
        };
    ExInterlockedAddLargeInteger::returns_the_original,
        "a signed 64-bit sum wraps, and the original value is returned",
        calls! {
            0, [0] => number(0), [0];
            5, [10] => number(10), [15];
            // A carry from the lower 32 bits to the upper ones.
            1, [MINUS_ONE] => number(MINUS_ONE), [1 << 32];
            1, [u64::MAX] => number(u64::MAX), [0];
            u64::MAX, [0] => number(0), [u64::MAX];
            1, [I64_MAX] => number(I64_MAX), [I64_MIN];
            u64::MAX, [I64_MIN] => number(I64_MIN), [I64_MAX];
        };
    InterlockedIncrement::returns_the_new,
        "an increment returns the new number, which wraps to the smallest",
        calls! {
            0, [0] => number(1), [1];
            0, [41] => number(42), [42];
            0, [MINUS_ONE] => number(0), [0];
            0, [I32_MAX] => number(I32_MIN), [I32_MIN];
        };
    InterlockedDecrement::returns_the_new,
        "a decrement returns the new number, which wraps to the largest",
        calls! {
            0, [1] => number(0), [0];
            0, [42] => number(41), [41];
            0, [0] => number(MINUS_ONE), [MINUS_ONE];
            0, [I32_MIN] => number(I32_MAX), [I32_MAX];
        };
    InterlockedExchange::returns_the_old,
        "an exchange returns the old number and leaves the new",
        calls! {
            2, [1] => number(1), [2];
            0, [MINUS_ONE] => number(MINUS_ONE), [0];
            MINUS_ONE, [0] => number(0), [MINUS_ONE];
            7, [7] => number(7), [7];
        };
    KeGetCurrentProcessorNumber::is_in_range,
        "the processor is one that the system can have, and the same at DISPATCH_LEVEL",
        current_processor_number;
};

/// It is not known in advance on which processor a call runs, only that the processor exists.
fn current_processor_number(session: &Session, routine: Routine) -> Result<Tally> {
    let processors = u64::from(session.device.statistics()?.processors);
    for _ in 0..session.rounds(100) {
        let returned = session.device.call_routine(routine, &Call::default())?;
        let expected = leaving(found(returned.value), [processors]);
        ensure(returned.value < processors && returned == expected, || {
            format!("with {processors} processors, the routine returned {returned:?}")
        })?;
    }
    Ok(Tally::NONE)
}
