//! Spin locks, the cancel spin lock, and Cancel routines.

use interlock_abi::{Returned, Routine};
use zerocopy::IntoBytes;

use super::{call, check, found, leaving, number};
use crate::scenarios::cancel::cancel_found;
use crate::scenarios::session::{Session, Tally, expect_cancelled, expect_pending};
use crate::scenarios::{Context, Scenario, Verdict, scenario};
use crate::target::blank;

const PASSIVE_LEVEL: u64 = 0;
const DISPATCH_LEVEL: u64 = 2;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "routine::IoAcquireCancelSpinLock::saves_the_irql",
        "the cancel spin lock saves PASSIVE_LEVEL, and DISPATCH_LEVEL within another spin lock",
        &[Routine::IoAcquireCancelSpinLock],
        |_| saves_both(Routine::IoAcquireCancelSpinLock),
    ),
    scenario(
        "routine::IoReleaseCancelSpinLock::restores_the_irql",
        "the cancel spin lock can be taken again after each release, at PASSIVE_LEVEL as before",
        &[Routine::IoReleaseCancelSpinLock],
        io_release_cancel_spin_lock,
    ),
    scenario(
        "routine::IoSetCancelRoutine::gives_the_routine_back",
        "a Cancel routine that was set comes back when NULL is set, and the request is completed",
        &[Routine::IoSetCancelRoutine],
        |_| check(Routine::IoSetCancelRoutine, &[(call(0, []), found(0))]),
    ),
    scenario(
        "routine::IoSetCancelRoutine::is_called",
        "a Cancel routine that is left set is called when the request is cancelled",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        cancel_routine_is_called,
    ),
    scenario(
        "routine::KeInitializeSpinLock::is_free",
        "a spin lock is free once it is initialised",
        &[Routine::KeInitializeSpinLock],
        |_| check(Routine::KeInitializeSpinLock, &[(call(0, []), number(1))]),
    ),
    scenario(
        "routine::KeAcquireSpinLock::saves_the_irql",
        "the outer of two spin locks saves PASSIVE_LEVEL, the inner DISPATCH_LEVEL",
        &[Routine::KeAcquireSpinLock],
        |_| saves_both(Routine::KeAcquireSpinLock),
    ),
    scenario(
        "routine::KeReleaseSpinLock::restores_the_irql",
        "a spin lock is free after each release, and the IRQL PASSIVE_LEVEL as before",
        &[Routine::KeReleaseSpinLock],
        ke_release_spin_lock,
    ),
    scenario(
        "routine::KeAcquireSpinLockAtDpcLevel::takes_the_lock",
        "a spin lock that one thread takes at DISPATCH_LEVEL cannot be taken by another",
        &[Routine::KeAcquireSpinLockAtDpcLevel],
        |_| {
            check(
                Routine::KeAcquireSpinLockAtDpcLevel,
                &[(call(0, []), number(0))],
            )
        },
    ),
    scenario(
        "routine::KeReleaseSpinLockFromDpcLevel::frees_the_lock",
        "a spin lock that is released at DISPATCH_LEVEL can be taken again",
        &[Routine::KeReleaseSpinLockFromDpcLevel],
        |_| {
            check(
                Routine::KeReleaseSpinLockFromDpcLevel,
                &[(call(0, []), number(1))],
            )
        },
    ),
];

/// Two locks, one within the other.
fn saves_both(routine: Routine) -> Verdict {
    let saved = leaving(number(PASSIVE_LEVEL), [DISPATCH_LEVEL]);
    check(routine, &[(call(0, []), saved)])
}

/// Once, and as often as may be asked for.
fn io_release_cancel_spin_lock(_: &Context) -> Verdict {
    check(
        Routine::IoReleaseCancelSpinLock,
        &[
            (call(1, []), number(PASSIVE_LEVEL)),
            (call(1000, []), number(PASSIVE_LEVEL)),
        ],
    )
}

/// Once, and as often as may be asked for.
fn ke_release_spin_lock(_: &Context) -> Verdict {
    check(
        Routine::KeReleaseSpinLock,
        &[
            (call(1, []), found(PASSIVE_LEVEL)),
            (call(1000, []), found(PASSIVE_LEVEL)),
        ],
    )
}

/// The requests stay until they are cancelled, and only the one that is.
fn cancel_routine_is_called(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let send = |tag: u64| {
        let output = blank(size_of::<Returned>());
        let left_queued = call(1, []);
        let code = Routine::IoSetCancelRoutine.ioctl();
        let request = session
            .device
            .submit(code, left_queued.as_bytes(), output)?;
        expect_pending(tag, &request)?;
        Ok((tag, request))
    };
    let requests = (0..3).map(send).collect::<Verdict<Vec<_>>>()?;
    for index in [1, 0, 2] {
        let (tag, request) = &requests[index];
        expect_pending(*tag, request)?;
        cancel_found(*tag, request)?;
        expect_cancelled(*tag, request)?;
    }
    session.settle(Tally::default())
}
