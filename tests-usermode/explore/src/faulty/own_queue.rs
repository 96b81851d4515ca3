//! A queue of the driver's own, under its own spin lock, of requests that can be cancelled.

use std::{cell::UnsafeCell, marker::PhantomData, ptr::null_mut};

use nt::{
    FILE_OBJECT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS,
    irp::IoSetCancelRoutine,
    list::{InitializeListHead, InsertTailList, RemoveEntryList},
};

use super::frame::{COMPLETE, Family, Irp, PEND, cancel};

mod mistakes;
mod scenes;

pub(super) use mistakes::*;

/// The queue, in the device extension.
#[repr(C)]
struct Queue {
    lock: UnsafeCell<KSPIN_LOCK>,
    list: UnsafeCell<LIST_ENTRY>,
}

impl Queue {
    fn lock(&self) -> *mut KSPIN_LOCK {
        self.lock.get()
    }

    fn list(&self) -> *mut LIST_ENTRY {
        self.list.get()
    }

    /// The entry after another one or the head; `None` at the end.
    fn after(&self, entry: *mut LIST_ENTRY) -> Option<*mut LIST_ENTRY> {
        // SAFETY: the caller holds the lock, and the entries of the list are alive.
        let next = unsafe { (*entry).Flink };
        (next != self.list()).then_some(next)
    }
}

/// What the driver does, step by step, as it should be.
trait Steps: Sized + 'static {
    /// Keeps a request; it is completed at once if it was cancelled already.
    fn insert(queue: &Queue, irp: Irp) -> NTSTATUS {
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(queue.lock()) };
        Self::link(queue, irp);
        let cancelled = Self::arm(irp);
        if cancelled {
            // SAFETY: the entry is on the list, whose lock is held.
            unsafe { RemoveEntryList(nt::irp::list_entry(irp.0)) };
        }
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(queue.lock(), old_irql) };
        if cancelled {
            irp.complete(STATUS_CANCELLED);
        }
        Self::answer(irp)
    }

    /// Marks a request pending and links it in.
    fn link(queue: &Queue, irp: Irp) {
        // SAFETY: the IRP is the caller's.
        unsafe { nt::irp::IoMarkIrpPending(irp.0) };
        // SAFETY: the caller holds the queue's lock.
        unsafe { InsertTailList(queue.list(), nt::irp::list_entry(irp.0)) };
    }

    /// Makes a request cancelable. Says whether it was cancelled before and the Cancel routine will not run.
    fn arm(irp: Irp) -> bool {
        // SAFETY: the caller holds the queue's lock, without which nobody completes the IRP.
        unsafe { IoSetCancelRoutine(irp.0, Some(cancel::<OwnQueue<Self>>)) };
        // SAFETY: as above.
        let cancelled = unsafe { nt::irp::is_cancel_requested(irp.0) };
        // SAFETY: as above.
        cancelled && unsafe { IoSetCancelRoutine(irp.0, None) }.is_some()
    }

    /// What the dispatch routine returns for a request that was kept.
    fn answer(_irp: Irp) -> NTSTATUS {
        STATUS_PENDING
    }

    /// Completes the oldest request, or a file's oldest; says whether there was one.
    fn complete_oldest(queue: &Queue, file: *mut FILE_OBJECT, status: NTSTATUS) -> bool {
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(queue.lock()) };
        let oldest = Self::remove_oldest(queue, file);
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(queue.lock(), old_irql) };
        if let Some(irp) = oldest {
            irp.complete(status);
        }
        oldest.is_some()
    }

    /// Takes the oldest request that no Cancel routine has; the caller holds the lock.
    fn remove_oldest(queue: &Queue, file: *mut FILE_OBJECT) -> Option<Irp> {
        let mut entry = queue.after(queue.list());
        while let Some(this) = entry {
            entry = queue.after(this);
            // SAFETY: every entry of the list is an IRP's.
            let irp = Irp(unsafe { nt::irp::from_list_entry(this) });
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

    /// Takes an entry out, and links it to itself: the Cancel routine may take it out again.
    fn unlink(entry: *mut LIST_ENTRY) {
        // SAFETY: the caller holds the queue's lock.
        unsafe { RemoveEntryList(entry) };
    }

    /// Makes a request not cancelable. Says whether it is the caller's now, and not the Cancel routine's.
    fn disarm(irp: Irp) -> bool {
        // SAFETY: the caller holds the queue's lock, without which nobody completes the IRP.
        unsafe { IoSetCancelRoutine(irp.0, None) }.is_some()
    }

    /// The Cancel routine.
    fn cancelled(queue: &Queue, irp: Irp) {
        // SAFETY: this is the Cancel routine, which holds the cancel spin lock.
        let cancel_irql = unsafe { nt::irp::cancel_irql(irp.0) };
        // SAFETY: as above.
        unsafe { nt::IoReleaseCancelSpinLock(cancel_irql) };
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(queue.lock()) };
        // SAFETY: the entry is on the list, whose lock is held, or linked to itself.
        unsafe { RemoveEntryList(nt::irp::list_entry(irp.0)) };
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(queue.lock(), old_irql) };
        irp.complete(STATUS_CANCELLED);
    }

    /// Cancels what is queued of a file.
    fn cleanup(queue: &Queue, file: *mut FILE_OBJECT) {
        while Self::complete_oldest(queue, file, STATUS_CANCELLED) {}
    }

    /// Ends a request that is not kept.
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        status
    }
}

/// The driver of some steps.
struct OwnQueue<S>(PhantomData<S>);

impl<S: Steps> Family for OwnQueue<S> {
    type Own = Queue;

    fn initialise(queue: &Queue) {
        // SAFETY: the lock stays where it is, and nobody uses it yet.
        unsafe { nt::KeInitializeSpinLock(queue.lock()) };
        // SAFETY: as above.
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
