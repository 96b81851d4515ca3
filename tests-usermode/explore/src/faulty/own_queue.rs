//! A queue of the driver's own, under its own spin lock, of requests that can be cancelled.

use std::{cell::UnsafeCell, marker::PhantomData, ptr::null_mut};

use nt::{
    FILE_OBJECT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS,
    list::{InitializeListHead, InsertTailList, RemoveEntryList},
};

use super::frame::{Family, Irp, nt};
use crate::harness::{COMPLETE, PEND};

mod mistakes;
mod tests;

pub(super) use mistakes::FAULTS;

/// The queue, in the device extension.
#[repr(C)]
struct Queue {
    lock: UnsafeCell<KSPIN_LOCK>,
    list: UnsafeCell<LIST_ENTRY>,
}

impl Queue {
    fn list(&self) -> *mut LIST_ENTRY {
        self.list.get()
    }

    /// Returns the entry after another one or the head; `None` at the end.
    fn after(&self, entry: *mut LIST_ENTRY) -> Option<*mut LIST_ENTRY> {
        // SAFETY: the caller holds the lock, and the entries of the list exist.
        let next = unsafe { (*entry).Flink };
        (next != self.list()).then_some(next)
    }

    /// Inserts an IRP at the tail; the caller holds the lock.
    fn insert(&self, irp: Irp) {
        // SAFETY: the list is initialized, and the entry does not move until it is removed.
        unsafe { InsertTailList(self.list(), irp.entry()) };
    }
}

/// Removes an entry from the list, if it is still on it, and links it to itself. The caller holds the lock.
fn remove(entry: *mut LIST_ENTRY) {
    // SAFETY: the entry is on the list or linked to itself.
    unsafe { RemoveEntryList(entry) };
    // SAFETY: the entry is on no list now.
    unsafe { InitializeListHead(entry) };
}

/// The steps of the driver; the default methods are correct.
trait Steps: Sized + 'static {
    /// Queues a request; completes it if it was cancelled already.
    fn insert(queue: &Queue, irp: Irp) -> NTSTATUS {
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(queue.lock.get()));
        Self::link(queue, irp);
        let cancelled = Self::arm(irp);
        if cancelled {
            remove(irp.entry());
        }
        nt!(KeReleaseSpinLock(queue.lock.get(), old_irql));
        if cancelled {
            irp.complete(STATUS_CANCELLED);
        }
        Self::answer(irp)
    }

    /// Marks a request pending and inserts it.
    fn link(queue: &Queue, irp: Irp) {
        irp.mark_pending();
        queue.insert(irp);
    }

    /// Makes a request cancelable; returns whether it was cancelled before, so that the Cancel routine does not run.
    fn arm(irp: Irp) -> bool {
        irp.set_cancel_routine::<OwnQueue<Self>>();
        irp.is_cancelled() && irp.clear_cancel_routine()
    }

    /// Returns the status of the dispatch routine for a queued request.
    fn answer(_irp: Irp) -> NTSTATUS {
        STATUS_PENDING
    }

    /// Completes the oldest request, or a file's oldest; returns whether there was one.
    fn complete_oldest(queue: &Queue, file: *mut FILE_OBJECT, status: NTSTATUS) -> bool {
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(queue.lock.get()));
        let oldest = Self::remove_oldest(queue, file);
        nt!(KeReleaseSpinLock(queue.lock.get(), old_irql));
        if let Some(irp) = oldest {
            irp.complete(status);
        }
        oldest.is_some()
    }

    /// Removes the oldest request that is not being cancelled; the caller holds the lock.
    fn remove_oldest(queue: &Queue, file: *mut FILE_OBJECT) -> Option<Irp> {
        let mut entry = queue.after(queue.list());
        while let Some(this) = entry {
            entry = queue.after(this);
            let irp = Irp::of(this);
            if !file.is_null() && irp.file() != file {
                continue;
            }
            Self::unlink(this);
            if Self::disarm(irp) {
                return Some(irp);
            }
        }
        None
    }

    /// Removes an entry and links it to itself, since the Cancel routine may remove it again; the caller holds the lock.
    fn unlink(entry: *mut LIST_ENTRY) {
        remove(entry);
    }

    /// Makes a request not cancelable; returns whether the caller owns it now, and not the Cancel routine.
    fn disarm(irp: Irp) -> bool {
        irp.clear_cancel_routine()
    }

    /// The Cancel routine.
    fn cancelled(queue: &Queue, irp: Irp) {
        nt!(IoReleaseCancelSpinLock(irp.cancel_irql()));
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(queue.lock.get()));
        remove(irp.entry());
        nt!(KeReleaseSpinLock(queue.lock.get(), old_irql));
        irp.complete(STATUS_CANCELLED);
    }

    /// Cancels the queued requests of a file.
    fn cleanup(queue: &Queue, file: *mut FILE_OBJECT) {
        while Self::complete_oldest(queue, file, STATUS_CANCELLED) {}
    }

    /// Completes a request that is not queued; returns the status of the dispatch routine.
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        status
    }
}

/// The driver with these steps.
struct OwnQueue<S>(PhantomData<S>);

impl<S: Steps> Family for OwnQueue<S> {
    type Data = Queue;

    fn initialize(queue: &Queue) {
        nt!(KeInitializeSpinLock(queue.lock.get()));
        // SAFETY: the list head does not move, and is not in use yet.
        unsafe { InitializeListHead(queue.list()) };
    }

    fn control(queue: &Queue, irp: Irp, code: u32) -> NTSTATUS {
        match code {
            PEND => S::insert(queue, irp),
            COMPLETE if S::complete_oldest(queue, null_mut(), STATUS_SUCCESS) => {
                S::end(irp, STATUS_SUCCESS)
            }
            _ => S::end(irp, STATUS_NOT_FOUND),
        }
    }

    fn cleanup(queue: &Queue, file: *mut FILE_OBJECT) {
        S::cleanup(queue, file);
    }

    fn cancel(queue: &Queue, irp: Irp) {
        S::cancelled(queue, irp);
    }
}
