//! Two counters under spin locks, counted by every request.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    sync::Arc,
};

use nt::{KSPIN_LOCK, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Kernel, Rule};

use super::{
    EVERY, Fault,
    frame::{COMPLETE, Family, Irp, PEND, Stage},
};

/// A number under a lock.
#[repr(C)]
struct Counter {
    lock: UnsafeCell<KSPIN_LOCK>,
    count: Cell<u32>,
}

impl Counter {
    fn increment(&self) {
        self.count.set(self.count.get() + 1);
    }

    fn initialise(&self) {
        // SAFETY: the lock stays where it is, and nobody uses it yet.
        unsafe { nt::KeInitializeSpinLock(self.lock.get()) };
    }
}

/// What the device extension holds.
#[repr(C)]
struct Counters {
    sent: Counter,
    ended: Counter,
    /// For the mistake alone: what both locks save the IRQL in.
    old_irql: Cell<u8>,
}

/// What the driver does, step by step, as it should be.
trait Steps: 'static {
    /// Counts under both locks.
    fn count_both(own: &Counters) {
        let (outer, inner) = (own.sent.lock.get(), own.ended.lock.get());
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(outer) };
        // SAFETY: as above; the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(inner) };
        own.sent.increment();
        own.ended.increment();
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(inner) };
        // SAFETY: as above.
        unsafe { nt::KeReleaseSpinLock(outer, old_irql) };
    }

    /// Does so too, for other requests.
    fn count_both_again(own: &Counters) {
        Self::count_both(own);
    }
}

/// The driver of some steps.
struct Locks<S>(PhantomData<S>);

impl<S: Steps> Family for Locks<S> {
    type Own = Counters;

    fn initialise(own: &Counters) {
        own.sent.initialise();
        own.ended.initialise();
    }

    fn control(own: &Counters, irp: Irp, code: u32) -> NTSTATUS {
        if code == PEND {
            S::count_both(own);
        } else {
            S::count_both_again(own);
        }
        irp.complete(STATUS_SUCCESS);
        STATUS_SUCCESS
    }
}

/// Two actors send requests.
fn both<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Locks<S>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        file.device_control(COMPLETE, &[], Vec::new()).answer()
    });
    assert_eq!(stage.send(PEND).answer(), STATUS_SUCCESS);
    assert_eq!(other.join(), STATUS_SUCCESS);
    stage.strike();
}

struct Correct;

impl Steps for Correct {}

struct AtDpcAtPassive;

impl Steps for AtDpcAtPassive {
    fn count_both(own: &Counters) {
        let lock = own.sent.lock.get();
        // SAFETY: the lock is initialised, and stays.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(lock) };
        own.sent.increment();
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(lock) };
    }
}

pub(super) const AT_DPC_AT_PASSIVE: Fault = Fault {
    name: "locks::at_dpc_at_passive",
    twin_name: "locks::at_dpc_at_passive, corrected",
    what: "a lock is acquired by an AtDpc routine at PASSIVE_LEVEL: who holds it is preempted, and others spin; so in \
           intel/haxm, pull request 48, and openzfsonwindows/ZFSin, pull request 221",
    rule: Rule::SpinLockDpc,
    search: EVERY,
    faulty: both::<AtDpcAtPassive>,
    twin: both::<Correct>,
};

struct OneVariable;

impl Steps for OneVariable {
    fn count_both(own: &Counters) {
        let (outer, inner) = (own.sent.lock.get(), own.ended.lock.get());
        // SAFETY: the lock is initialised, and stays.
        own.old_irql
            .set(unsafe { nt::KeAcquireSpinLockRaiseToDpc(outer) });
        // SAFETY: as above.
        own.old_irql
            .set(unsafe { nt::KeAcquireSpinLockRaiseToDpc(inner) });
        own.sent.increment();
        own.ended.increment();
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(inner, own.old_irql.get()) };
        // SAFETY: as above.
        unsafe { nt::KeReleaseSpinLock(outer, own.old_irql.get()) };
    }
}

pub(super) const ONE_VARIABLE: Fault = Fault {
    name: "locks::one_variable",
    twin_name: "locks::one_variable, corrected",
    what: "two locks save the old IRQL in one variable, so the outer one is released to the inner one's: the thread \
           stays at DISPATCH_LEVEL",
    rule: Rule::SpinlockRelease,
    search: EVERY,
    faulty: both::<OneVariable>,
    twin: both::<Correct>,
};

struct ReleasedFromDpc;

impl Steps for ReleasedFromDpc {
    fn count_both(own: &Counters) {
        let lock = own.sent.lock.get();
        // SAFETY: the lock is initialised, and stays.
        unsafe { nt::KeAcquireSpinLockRaiseToDpc(lock) };
        own.sent.increment();
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(lock) };
    }
}

pub(super) const RELEASED_FROM_DPC: Fault = Fault {
    name: "locks::released_from_dpc",
    twin_name: "locks::released_from_dpc, corrected",
    what: "a lock that KeAcquireSpinLock acquired is released by a FromDpc routine, which leaves the IRQL raised; so in \
           ntoskrnl7/crtsys before its pull request 30",
    rule: Rule::SpinlockRelease,
    search: EVERY,
    faulty: both::<ReleasedFromDpc>,
    twin: both::<Correct>,
};

struct TwoOrders;

impl Steps for TwoOrders {
    fn count_both_again(own: &Counters) {
        let (outer, inner) = (own.ended.lock.get(), own.sent.lock.get());
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(outer) };
        // SAFETY: as above; the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(inner) };
        own.sent.increment();
        own.ended.increment();
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(inner) };
        // SAFETY: as above.
        unsafe { nt::KeReleaseSpinLock(outer, old_irql) };
    }
}

pub(super) const TWO_ORDERS: Fault = Fault {
    name: "locks::two_orders",
    twin_name: "locks::two_orders, corrected",
    what: "two routines acquire the same two locks, each in another order: each may come to wait for the other",
    rule: Rule::LockOrder,
    search: EVERY,
    faulty: both::<TwoOrders>,
    twin: both::<Correct>,
};
