//! Each routine alone: what it is called with, and what it must answer.

pub mod device_queues;
pub mod lists;
pub mod locks;
pub mod numbers;
pub mod zones;

use interlock_abi::{Call, Returned, Routine};

use super::session::{Session, Tally};
use super::{Verdict, ensure};

/// A call with an argument and values.
const fn call<const N: usize>(argument: u64, values: [u64; N]) -> Call {
    Call {
        argument,
        count: count_of(N),
        reserved: 0,
        values: filled(values),
    }
}

/// The answer of a routine that returns this number, or nothing where it is 0, and leaves nothing.
const fn number(value: u64) -> Returned {
    Returned {
        value,
        found: 0,
        status: 0,
        count: 0,
        reserved: 0,
        values: [0; Returned::VALUES],
    }
}

/// The answer of a routine that returns this node, or that has found something besides a number.
const fn found(value: u64) -> Returned {
    Returned {
        found: 1,
        ..number(value)
    }
}

/// The answer of a routine that returns NULL.
const NULL: Returned = number(0);

/// The same answer, but leaving these.
const fn leaving<const N: usize>(returned: Returned, left: [u64; N]) -> Returned {
    Returned {
        count: count_of(N),
        values: filled(left),
        ..returned
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a call has no more values than are written out here"
)]
const fn count_of(values: usize) -> u32 {
    values as u32
}

/// The values, and zeros behind them.
const fn filled<const N: usize, const ALL: usize>(values: [u64; N]) -> [u64; ALL] {
    let mut all = [0; ALL];
    let (front, _) = all.split_at_mut(N);
    front.copy_from_slice(&values);
    all
}

/// Calls a routine with each call, which must answer exactly so and be counted nowhere.
fn check(routine: Routine, expected: &[(Call, Returned)]) -> Verdict {
    let session = Session::begin()?;
    for (call, expected) in expected {
        let returned = session.device.call_routine(routine, call)?;
        ensure(returned == *expected, || {
            format!(
                "{} with {call:?}\nanswers {returned:?}\n    not {expected:?}",
                routine.name()
            )
        })?;
    }
    session.settle(Tally::default())
}
