//! A list by the `ExInterlocked` routines, of requests that cannot be cancelled.

use std::{cell::UnsafeCell, marker::PhantomData, ptr::null_mut, sync::Arc};

use nt::{
    FILE_OBJECT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS,
    list::{InitializeListHead, IsListEmpty, RemoveEntryList},
};
use ntmodel::Kernel;

use super::{
    Fault,
    frame::{self, Family, Irp, nt, set_up},
};
use crate::harness::PEND;

/// The mistakes of this family.
pub(super) const FAULTS: &[Fault] = faults! { "interlocked":
    "marked_late", MarkedLate, completion_against_insertion, MarkingInterlockedQueuedIrps,
        "an IRP is marked pending after it was inserted into an interlocked list, when it may have been completed";
    "marked_when_served", MarkedWhenServed / ServesImmediately, served_immediately, MarkingInterlockedQueuedIrps,
        "an IRP is inserted into an interlocked list, which is served immediately, and is marked pending only then";
    "lock_shared", LockShared, completion_against_insertion, InterlockedLock,
        "the lock of an interlocked list is also acquired by KeAcquireSpinLock, with interrupts enabled: an interrupt \
         routine that inserts on that processor spins forever";
};

/// The list, in the device extension.
#[repr(C)]
struct List {
    lock: UnsafeCell<KSPIN_LOCK>,
    head: UnsafeCell<LIST_ENTRY>,
}

impl List {
    fn insert(&self, irp: Irp) {
        nt!(ExInterlockedInsertTailList(
            self.head.get(),
            irp.entry(),
            self.lock.get()
        ));
    }
}

/// The steps of the driver; the default methods are correct.
trait Steps: Sized + 'static {
    /// Queues a request.
    fn keep(list: &List, irp: Irp) {
        irp.mark_pending();
        list.insert(irp);
    }

    /// Removes the entry of the oldest request; NULL if there is none.
    fn take(list: &List) -> *mut LIST_ENTRY {
        nt!(ExInterlockedRemoveHeadList(
            list.head.get(),
            list.lock.get()
        ))
    }
}

/// Completes the oldest request; returns whether there was one.
fn complete_oldest<S: Steps>(list: &List, status: NTSTATUS) -> bool {
    let entry = S::take(list);
    if entry.is_null() {
        return false;
    }
    Irp::of(entry).complete(status);
    true
}

/// The driver with these steps.
struct Interlocked<S>(PhantomData<S>);

impl<S: Steps> Family for Interlocked<S> {
    type Data = List;

    fn initialize(list: &List) {
        nt!(KeInitializeSpinLock(list.lock.get()));
        // SAFETY: the list head does not move, and is not in use yet.
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

    /// There is only one file.
    fn cleanup(list: &List, _: *mut FILE_OBJECT) {
        while complete_oldest::<S>(list, STATUS_CANCELLED) {}
    }
}

fn completion_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    frame::completion_against_insertion::<Interlocked<S>>(kernel);
}

/// One request is sent.
fn served_immediately<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<Interlocked<S>>(kernel);
    harness.end(&harness.send(PEND), &[STATUS_SUCCESS]);
    harness.tear_down();
}

struct Correct;

impl Steps for Correct {}

struct MarkedLate;

impl Steps for MarkedLate {
    fn keep(list: &List, irp: Irp) {
        list.insert(irp);
        irp.mark_pending();
    }
}

struct ServesImmediately;

impl Steps for ServesImmediately {
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
        irp.mark_pending();
    }
}

struct LockShared;

impl Steps for LockShared {
    fn take(list: &List) -> *mut LIST_ENTRY {
        let head = list.head.get();
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(list.lock.get()));
        // SAFETY: the list is initialized.
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
        nt!(KeReleaseSpinLock(list.lock.get(), old_irql));
        entry
    }
}
