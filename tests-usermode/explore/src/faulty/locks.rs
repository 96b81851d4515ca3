//! Two counters, each with a spin lock, which every request increments.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    sync::Arc,
};

use nt::{KSPIN_LOCK, NTSTATUS, STATUS_SUCCESS};
use ntmodel::Kernel;

use super::{
    Fault,
    frame::{Family, Irp, nt, set_up},
};
use crate::harness::{COMPLETE, PEND, send};

/// The mistakes of this family.
pub(super) const FAULTS: &[Fault] = faults! { "locks":
    "at_dpc_at_passive", AtDpcAtPassive, both, SpinLockDpc,
        "a lock is acquired by an AtDpc routine at PASSIVE_LEVEL: its owner can be preempted while others spin, as in \
         intel/haxm before pull request 48 and openzfsonwindows/ZFSin before pull request 221";
    "one_variable", OneVariable, both, IrqlKeReleaseSpinLock,
        "two locks save the old IRQL in one variable, so the outer one is released to the inner one's: the thread \
         stays at DISPATCH_LEVEL";
    "released_from_dpc", ReleasedFromDpc, both, SpinlockRelease,
        "a lock that KeAcquireSpinLock acquired is released by a FromDpc routine, which leaves the IRQL raised, as in \
         ntoskrnl7/crtsys before pull request 30";
    "two_orders", TwoOrders, both, LockOrder,
        "two routines acquire the same two locks in opposite orders: each can wait for the other forever";
};

/// A number and its lock.
#[repr(C)]
struct Counter {
    lock: UnsafeCell<KSPIN_LOCK>,
    count: Cell<u32>,
}

impl Counter {
    fn increment(&self) {
        self.count.set(self.count.get() + 1);
    }
}

/// The driver's part of the device extension.
#[repr(C)]
struct Counters {
    sent: Counter,
    ended: Counter,
    /// For [`OneVariable`]: where both locks save the old IRQL.
    old_irql: Cell<u8>,
}

/// Increments both counters under both locks, acquired in this order.
fn increment_both(outer: &Counter, inner: &Counter) {
    let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(outer.lock.get()));
    nt!(KeAcquireSpinLockAtDpcLevel(inner.lock.get()));
    outer.increment();
    inner.increment();
    nt!(KeReleaseSpinLockFromDpcLevel(inner.lock.get()));
    nt!(KeReleaseSpinLock(outer.lock.get(), old_irql));
}

/// The steps of the driver; the default methods are correct.
trait Steps: 'static {
    /// Counts a request of one code.
    fn count(data: &Counters) {
        increment_both(&data.sent, &data.ended);
    }

    /// Counts a request of the other code.
    fn count_other(data: &Counters) {
        Self::count(data);
    }
}

/// The driver with these steps.
struct Locks<S>(PhantomData<S>);

impl<S: Steps> Family for Locks<S> {
    type Data = Counters;

    fn initialize(data: &Counters) {
        nt!(KeInitializeSpinLock(data.sent.lock.get()));
        nt!(KeInitializeSpinLock(data.ended.lock.get()));
    }

    fn control(data: &Counters, irp: Irp, code: u32) -> NTSTATUS {
        if code == PEND {
            S::count(data);
        } else {
            S::count_other(data);
        }
        irp.complete(STATUS_SUCCESS);
        STATUS_SUCCESS
    }
}

/// Two threads send requests.
fn both<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<Locks<S>>(kernel);
    let other = harness.actor("other", &harness.file, |file| send(file, COMPLETE).answer());
    assert_eq!(harness.send(PEND).answer(), STATUS_SUCCESS);
    assert_eq!(other.join(), STATUS_SUCCESS);
    harness.tear_down();
}

struct Correct;

impl Steps for Correct {}

struct AtDpcAtPassive;

impl Steps for AtDpcAtPassive {
    fn count(data: &Counters) {
        nt!(KeAcquireSpinLockAtDpcLevel(data.sent.lock.get()));
        data.sent.increment();
        nt!(KeReleaseSpinLockFromDpcLevel(data.sent.lock.get()));
    }
}

struct OneVariable;

impl Steps for OneVariable {
    fn count(data: &Counters) {
        let Counters {
            sent,
            ended,
            old_irql,
        } = data;
        old_irql.set(nt!(KeAcquireSpinLockRaiseToDpc(sent.lock.get())));
        old_irql.set(nt!(KeAcquireSpinLockRaiseToDpc(ended.lock.get())));
        sent.increment();
        ended.increment();
        nt!(KeReleaseSpinLock(ended.lock.get(), old_irql.get()));
        nt!(KeReleaseSpinLock(sent.lock.get(), old_irql.get()));
    }
}

struct ReleasedFromDpc;

impl Steps for ReleasedFromDpc {
    fn count(data: &Counters) {
        nt!(KeAcquireSpinLockRaiseToDpc(data.sent.lock.get()));
        data.sent.increment();
        nt!(KeReleaseSpinLockFromDpcLevel(data.sent.lock.get()));
    }
}

struct TwoOrders;

impl Steps for TwoOrders {
    fn count_other(data: &Counters) {
        increment_both(&data.ended, &data.sent);
    }
}
