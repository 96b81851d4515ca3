//! A list by the `ExInterlocked` routines, of requests that cannot be cancelled.

use std::{cell::UnsafeCell, marker::PhantomData, ptr::null_mut, sync::Arc};

use nt::{
    FILE_OBJECT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS,
    list::{InitializeListHead, IsListEmpty, RemoveEntryList},
};
use ntmodel::{Kernel, Rule};

use super::{
    EVERY, Fault,
    frame::{Family, Irp, PEND, Stage, completion_against_insertion, end_of},
};

/// The list, in the device extension.
#[repr(C)]
struct List {
    lock: UnsafeCell<KSPIN_LOCK>,
    head: UnsafeCell<LIST_ENTRY>,
}

impl List {
    fn insert(&self, irp: Irp) {
        let entry = nt::irp::list_entry(irp.0);
        // SAFETY: the list is initialised, and the entry stays until it is removed.
        unsafe { nt::ExInterlockedInsertTailList(self.head.get(), entry, self.lock.get()) };
    }
}

/// What the driver does, step by step, as it should be.
trait Steps: Sized + 'static {
    /// Keeps a request.
    fn keep(list: &List, irp: Irp) {
        // SAFETY: the IRP is the caller's.
        unsafe { nt::irp::IoMarkIrpPending(irp.0) };
        list.insert(irp);
    }

    /// Takes the oldest request's entry; NULL if there is none.
    fn take(list: &List) -> *mut LIST_ENTRY {
        // SAFETY: the list is initialised, and its entries are alive.
        unsafe { nt::ExInterlockedRemoveHeadList(list.head.get(), list.lock.get()) }
    }
}

/// Completes the oldest request; says whether there was one.
fn complete_oldest<S: Steps>(list: &List, status: NTSTATUS) -> bool {
    let entry = S::take(list);
    if entry.is_null() {
        return false;
    }
    // SAFETY: every entry of the list is an IRP's.
    Irp(unsafe { nt::irp::from_list_entry(entry) }).complete(status);
    true
}

/// The driver of some steps.
struct Interlocked<S>(PhantomData<S>);

impl<S: Steps> Family for Interlocked<S> {
    type Own = List;

    fn initialise(list: &List) {
        // SAFETY: the lock stays where it is, and nobody uses it yet.
        unsafe { nt::KeInitializeSpinLock(list.lock.get()) };
        // SAFETY: as above.
        unsafe { InitializeListHead(list.head.get()) };
    }

    fn control(list: &List, irp: Irp, code: u32) -> NTSTATUS {
        if code == PEND {
            S::keep(list, irp);
            return STATUS_PENDING;
        }
        let status = if complete_oldest::<S>(list, STATUS_SUCCESS) {
            STATUS_SUCCESS
        } else {
            STATUS_NOT_FOUND
        };
        irp.complete(status);
        status
    }

    /// The scenes have one file.
    fn cleanup(list: &List, _: *mut FILE_OBJECT) {
        while complete_oldest::<S>(list, STATUS_CANCELLED) {}
    }
}

/// One request is sent.
fn served_at_once<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Interlocked<S>>(kernel);
    assert_eq!(end_of(&stage.send(PEND)), STATUS_SUCCESS);
    stage.strike();
}

struct Correct;

impl Steps for Correct {}

struct MarkedLate;

impl Steps for MarkedLate {
    fn keep(list: &List, irp: Irp) {
        list.insert(irp);
        // SAFETY: the memory is the model's, which keeps it.
        unsafe { nt::irp::IoMarkIrpPending(irp.0) };
    }
}

pub(super) const MARKED_LATE: Fault = Fault {
    name: "interlocked::marked_late",
    twin_name: "interlocked::marked_late, corrected",
    what: "an IRP is marked pending after it was inserted into an interlocked list: it may be completed by then",
    rule: Rule::MarkingInterlockedQueuedIrps,
    search: EVERY,
    faulty: completion_against_insertion::<Interlocked<MarkedLate>>,
    twin: completion_against_insertion::<Interlocked<Correct>>,
};

struct ServesAtOnce;

impl Steps for ServesAtOnce {
    fn keep(list: &List, irp: Irp) {
        Correct::keep(list, irp);
        complete_oldest::<Self>(list, STATUS_SUCCESS);
    }
}

struct MarkedWhenServed;

impl Steps for MarkedWhenServed {
    fn keep(list: &List, irp: Irp) {
        list.insert(irp);
        complete_oldest::<Self>(list, STATUS_SUCCESS);
        // SAFETY: the memory is the model's, which keeps it.
        unsafe { nt::irp::IoMarkIrpPending(irp.0) };
    }
}

pub(super) const MARKED_WHEN_SERVED: Fault = Fault {
    name: "interlocked::marked_when_served",
    twin_name: "interlocked::marked_when_served, corrected",
    what: "an IRP is inserted into an interlocked list, which is served at once, and the IRP marked pending only then",
    rule: Rule::MarkingInterlockedQueuedIrps,
    search: EVERY,
    faulty: served_at_once::<MarkedWhenServed>,
    twin: served_at_once::<ServesAtOnce>,
};

struct LockShared;

impl Steps for LockShared {
    fn take(list: &List) -> *mut LIST_ENTRY {
        let (lock, head) = (list.lock.get(), list.head.get());
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(lock) };
        // SAFETY: the list is initialised.
        let entry = if unsafe { IsListEmpty(head) } {
            null_mut()
        } else {
            // SAFETY: as above.
            unsafe { (*head).Flink }
        };
        if !entry.is_null() {
            // SAFETY: the entry is on the list.
            unsafe { RemoveEntryList(entry) };
        }
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(lock, old_irql) };
        entry
    }
}

pub(super) const LOCK_SHARED: Fault = Fault {
    name: "interlocked::lock_shared",
    twin_name: "interlocked::lock_shared, corrected",
    what: "the lock of an interlocked list is acquired by KeAcquireSpinLock too, with interrupts on: an interrupt \
           routine that inserts on that processor waits for ever",
    rule: Rule::InterlockedLock,
    search: EVERY,
    faulty: completion_against_insertion::<Interlocked<LockShared>>,
    twin: completion_against_insertion::<Interlocked<Correct>>,
};
