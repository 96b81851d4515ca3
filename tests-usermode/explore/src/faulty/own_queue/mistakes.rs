//! The mistakes, each with the steps that it overrides.

use nt::{
    DISPATCH_LEVEL, FILE_OBJECT, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS,
};

use super::{
    OwnQueue, Queue, Steps, remove,
    tests::{
        cancel_against_completion, cancel_against_insertion, cleanup, completion_against_insertion,
        nothing_to_complete,
    },
};
use crate::faulty::{
    Fault,
    frame::{Irp, nt},
};

/// The mistakes of this family.
pub(in crate::faulty) const FAULTS: &[Fault] = faults! { "own_queue":
    "cancel_tested_first", CancelTestedFirst, cancel_against_insertion, IrpCancelField,
        "Irp->Cancel is tested before the Cancel routine is set: if the IRP is cancelled in between, the routine never runs";
    "not_taken_back", NotTakenBack, cancel_against_insertion, CompleteRequest,
        "Irp->Cancel is found set, and the IRP completed without a second IoSetCancelRoutine(NULL)";
    "armed_after_unlock", ArmedAfterUnlock, completion_against_insertion, CompletedIrp,
        "the Cancel routine is set after the queue's lock is released, when another thread may have completed the IRP";
    "taken_anyway", TakenAnyway, cancel_against_completion, DoubleCompletion,
        "the removal ignores that IoSetCancelRoutine(NULL) returned NULL: both it and the Cancel routine complete the IRP";
    "not_disarmed", NotDisarmed, cancel_against_completion, CompleteRequest,
        "an IRP is completed while its Cancel routine is set, as in the serial sample before \
         microsoft/Windows-driver-samples, pull request 217";
    "not_self_linked", NotSelfLinked, cancel_against_completion, ListEntry,
        "an entry that was removed still points to its old neighbours, and the Cancel routine removes it again; \
         dokan-dev/dokany, issue 1188, reports the same race";
    "completed_under_lock", CompletedUnderLock, cancel_against_completion, SpinLockSafe,
        "an IRP is completed under the queue's lock, which the next request of a completion routine may need";
    "completed_under_cancel_lock", CompletedUnderCancelLock, cancel_against_insertion, SpinLockSafe,
        "the Cancel routine completes the IRP before it releases the cancel spin lock";
    "wrong_cancel_irql", WrongCancelIrql, cancel_against_insertion, IrqlReturn,
        "the Cancel routine stays at DISPATCH_LEVEL for its own lock, and does not restore Irp->CancelIrql";
    "cleanup_stops", CleanupStops, cleanup, Cleanup,
        "IRP_MJ_CLEANUP cancels the first IRP of its file, and not the others";
    "marked_late", MarkedLate, completion_against_insertion, MarkingQueuedIrps,
        "an IRP is marked pending after it was queued, when it may have been completed and its memory reused";
    "not_marked", NotMarked, cleanup, MarkIrpPending2,
        "STATUS_PENDING is returned for an IRP that was not marked pending";
    "marked_and_answered", MarkedAndAnswered, cleanup, MarkIrpPending,
        "an IRP is marked pending and queued, and STATUS_SUCCESS is returned; warning C28143 of the WDK reports it";
    "other_status", OtherStatus, nothing_to_complete, CompleteRequestStatusCheck,
        "STATUS_SUCCESS is returned for an IRP that was completed with an error, as in xenserver/win-xenvif before pull \
         request 7";
    "answered_pending", AnsweredPending, nothing_to_complete, PendedCompletedRequest,
        "STATUS_PENDING is returned for an IRP that was completed immediately";
    "not_completed", NotCompleted, nothing_to_complete, IrpProcessingComplete,
        "an error is returned, and the IRP is not completed, as in CdoOperations.c before \
         microsoft/Windows-driver-samples, pull request 41";
};

struct Correct;

impl Steps for Correct {}

struct CancelTestedFirst;

impl Steps for CancelTestedFirst {
    fn arm(irp: Irp) -> bool {
        if irp.is_cancelled() {
            return true;
        }
        irp.set_cancel_routine::<OwnQueue<Self>>();
        false
    }
}

struct NotTakenBack;

impl Steps for NotTakenBack {
    fn arm(irp: Irp) -> bool {
        irp.set_cancel_routine::<OwnQueue<Self>>();
        irp.is_cancelled()
    }
}

struct ArmedAfterUnlock;

impl Steps for ArmedAfterUnlock {
    fn insert(queue: &Queue, irp: Irp) -> NTSTATUS {
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(queue.lock.get()));
        Self::link(queue, irp);
        nt!(KeReleaseSpinLock(queue.lock.get(), old_irql));
        if Self::arm(irp) {
            irp.complete(STATUS_CANCELLED);
        }
        STATUS_PENDING
    }
}

struct TakenAnyway;

impl Steps for TakenAnyway {
    fn disarm(irp: Irp) -> bool {
        irp.clear_cancel_routine();
        true
    }
}

struct NotDisarmed;

impl Steps for NotDisarmed {
    fn disarm(_: Irp) -> bool {
        true
    }
}

struct NotSelfLinked;

impl Steps for NotSelfLinked {
    fn unlink(entry: *mut LIST_ENTRY) {
        // SAFETY: the entry is on a list, whose lock the caller holds.
        let LIST_ENTRY { Flink, Blink } = unsafe { entry.read() };
        // SAFETY: the neighbours of an entry exist.
        unsafe { (*Blink).Flink = Flink };
        // SAFETY: as above.
        unsafe { (*Flink).Blink = Blink };
    }
}

struct CompletedUnderLock;

impl Steps for CompletedUnderLock {
    fn complete_oldest(queue: &Queue, file: *mut FILE_OBJECT, status: NTSTATUS) -> bool {
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(queue.lock.get()));
        let oldest = Self::remove_oldest(queue, file);
        if let Some(irp) = oldest {
            irp.complete(status);
        }
        nt!(KeReleaseSpinLock(queue.lock.get(), old_irql));
        oldest.is_some()
    }
}

struct CompletedUnderCancelLock;

impl Steps for CompletedUnderCancelLock {
    fn cancelled(queue: &Queue, irp: Irp) {
        let cancel_irql = irp.cancel_irql();
        nt!(KeAcquireSpinLockAtDpcLevel(queue.lock.get()));
        remove(irp.entry());
        nt!(KeReleaseSpinLockFromDpcLevel(queue.lock.get()));
        irp.complete(STATUS_CANCELLED);
        nt!(IoReleaseCancelSpinLock(cancel_irql));
    }
}

struct WrongCancelIrql;

impl Steps for WrongCancelIrql {
    fn cancelled(queue: &Queue, irp: Irp) {
        nt!(IoReleaseCancelSpinLock(DISPATCH_LEVEL));
        nt!(KeAcquireSpinLockAtDpcLevel(queue.lock.get()));
        remove(irp.entry());
        nt!(KeReleaseSpinLockFromDpcLevel(queue.lock.get()));
        irp.complete(STATUS_CANCELLED);
    }
}

struct CleanupStops;

impl Steps for CleanupStops {
    fn cleanup(queue: &Queue, file: *mut FILE_OBJECT) {
        Self::complete_oldest(queue, file, STATUS_CANCELLED);
    }
}

struct MarkedLate;

impl Steps for MarkedLate {
    fn link(queue: &Queue, irp: Irp) {
        queue.insert(irp);
    }

    fn answer(irp: Irp) -> NTSTATUS {
        irp.mark_pending();
        STATUS_PENDING
    }
}

struct NotMarked;

impl Steps for NotMarked {
    fn link(queue: &Queue, irp: Irp) {
        queue.insert(irp);
    }
}

struct MarkedAndAnswered;

impl Steps for MarkedAndAnswered {
    fn answer(_: Irp) -> NTSTATUS {
        STATUS_SUCCESS
    }
}

struct OtherStatus;

impl Steps for OtherStatus {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        STATUS_SUCCESS
    }
}

struct AnsweredPending;

impl Steps for AnsweredPending {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        STATUS_PENDING
    }
}

struct NotCompleted;

impl Steps for NotCompleted {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        if status >= 0 {
            irp.complete(status);
        }
        status
    }
}
