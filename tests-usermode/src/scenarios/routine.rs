//! Each routine alone: the calls of each, and what it must return.

/// The calls of a routine, one in each row: the argument and the values, the result, and the values that must remain, if any.
macro_rules! calls {
    (@left) => { [] };
    (@left $left:expr) => { $left };
    ($($argument:expr, $values:expr => $returned:expr $(, $left:expr)?;)*) => {
        |session, routine| $crate::scenarios::routine::check(session, routine, &[$(
            (
                $crate::scenarios::routine::call($argument, $values),
                $crate::scenarios::routine::leaving($returned, calls!(@left $($left)?)),
            ),
        )*])
    };
}

/// Scenarios that each test one routine: the routine and the name of the scenario, further routines that it covers, its summary,
/// and the function that runs it.
macro_rules! routines {
    ($($routine:ident::$name:ident $(+ $more:ident)*, $summary:literal, $run:expr;)*) => {
        &[$(
            $crate::scenarios::Scenario {
                name: concat!("routine::", stringify!($routine), "::", stringify!($name)),
                summary: $summary,
                routines: &[
                    interlock_abi::Routine::$routine,
                    $(interlock_abi::Routine::$more),*
                ],
                run: |context| {
                    const RUN: $crate::scenarios::routine::Run = $run;
                    $crate::scenarios::Session::run(context, |session| {
                        RUN(session, interlock_abi::Routine::$routine)
                    })
                },
            },
        )*]
    };
}

pub mod device_queues;
pub mod lists;
pub mod locks;
pub mod numbers;
pub mod zones;

use interlock_abi::{Call, CallResult, Routine};

use super::{Session, Tally};
use crate::error::{Result, ensure};

/// Runs a scenario of a routine.
type Run = fn(&Session, Routine) -> Result<Tally>;

/// Returns a call with an argument and values.
const fn call<const N: usize>(argument: u64, values: [u64; N]) -> Call {
    Call {
        argument,
        count: count_of(N),
        reserved: 0,
        values: filled(values),
    }
}

/// The result of a routine that returned this number, or nothing (0).
const fn number(value: u64) -> CallResult {
    CallResult {
        value,
        found: 0,
        status: 0,
        count: 0,
        reserved: 0,
        values: [0; CallResult::VALUES],
    }
}

/// The result of a routine that returned this node, or a number and TRUE.
const fn found(value: u64) -> CallResult {
    CallResult {
        found: 1,
        ..number(value)
    }
}

/// A routine returned NULL.
const NULL: CallResult = number(0);

/// The same result, with these values left.
const fn leaving<const N: usize>(returned: CallResult, left: [u64; N]) -> CallResult {
    CallResult {
        count: count_of(N),
        values: filled(left),
        ..returned
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the arrays in these tables are short"
)]
const fn count_of(values: usize) -> u32 {
    values as u32
}

/// Returns the values, followed by zeros.
const fn filled<const N: usize, const ALL: usize>(values: [u64; N]) -> [u64; ALL] {
    let mut all = [0; ALL];
    let (front, _) = all.split_at_mut(N);
    front.copy_from_slice(&values);
    all
}

/// Makes each call of a routine; each must return exactly what is expected, and change no counter.
fn check(session: &Session, routine: Routine, expected: &[(Call, CallResult)]) -> Result<Tally> {
    for (call, expected) in expected {
        let returned = session.device.call_routine(routine, call)?;
        ensure(returned == *expected, || {
            let name = routine.name();
            format!("{name} of {call:?}\nreturned {returned:?}\n     not {expected:?}")
        })?;
    }
    Ok(Tally::NONE)
}
