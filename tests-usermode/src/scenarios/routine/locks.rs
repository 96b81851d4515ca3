//! Spin locks, the cancel spin lock, and Cancel routines.

use interlock_abi::Routine;

use super::{Run, call, found, number};
use crate::client::{Ioctl, Sent, fifo};
use crate::error::Result;
use crate::scenarios::{Scenario, Session, Tally};

const PASSIVE_LEVEL: u64 = 0;
const DISPATCH_LEVEL: u64 = 2;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = routines! {
    IoAcquireCancelSpinLock::saves_the_irql,
        "the cancel spin lock saves PASSIVE_LEVEL, and DISPATCH_LEVEL within another spin lock",
        SAVES_BOTH;
    IoReleaseCancelSpinLock::restores_the_irql,
        "the cancel spin lock can be taken again after each release, at PASSIVE_LEVEL as before",
        calls! {
            1, [] => number(PASSIVE_LEVEL);
            1000, [] => number(PASSIVE_LEVEL);
        };
    IoSetCancelRoutine::returns_the_previous_routine,
        "setting NULL returns the Cancel routine that was set, and the request is completed",
        calls! {
            0, [] => found(0);
        };
    IoSetCancelRoutine::is_called + IoReleaseCancelSpinLock,
        "a Cancel routine that is left set is called when the request is cancelled",
        cancel_routine_is_called;
    KeInitializeSpinLock::is_free,
        "a spin lock is free once it is initialised",
        calls! {
            0, [] => number(1);
        };
    KeAcquireSpinLock::saves_the_irql,
        "the outer of two spin locks saves PASSIVE_LEVEL, the inner DISPATCH_LEVEL",
        SAVES_BOTH;
    KeReleaseSpinLock::restores_the_irql,
        "a spin lock is free after each release, and the IRQL PASSIVE_LEVEL as before",
        calls! {
            1, [] => found(PASSIVE_LEVEL);
            1000, [] => found(PASSIVE_LEVEL);
        };
    KeAcquireSpinLockAtDpcLevel::takes_the_lock,
        "a spin lock that one thread takes at DISPATCH_LEVEL cannot be taken by another",
        calls! {
            0, [] => number(0);
        };
    KeReleaseSpinLockFromDpcLevel::frees_the_lock,
        "a spin lock that is released at DISPATCH_LEVEL can be taken again",
        calls! {
            0, [] => number(1);
        };
};

/// Two locks, one within the other.
const SAVES_BOTH: Run = calls! {
    0, [] => number(PASSIVE_LEVEL), [DISPATCH_LEVEL];
};

/// Each request is pending until it is cancelled, and only the one that is cancelled ends.
fn cancel_routine_is_called(session: &Session, routine: Routine) -> Result<Tally> {
    let left_set = Ioctl::call(routine, &call(1, []));
    let send = |tag| {
        let request = session.device.submit(&left_set)?;
        let pend = fifo(tag);
        Ok(Sent { pend, request })
    };
    let requests = (0..3).map(send).collect::<Result<Vec<_>>>()?;
    for index in [1, 0, 2] {
        requests[index].expect_pending()?;
        requests[index].expect_cancel()?;
    }
    Ok(Tally::NONE)
}
