//! The mistakes, each with the steps that it gets wrong.

use nt::{
    DISPATCH_LEVEL, FILE_OBJECT, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS,
    irp::IoSetCancelRoutine,
    list::{InsertTailList, RemoveEntryList},
};
use ntmodel::Rule;

use super::{
    OwnQueue, Queue, Steps,
    scenes::{cancel_against_completion, cancel_against_insertion, cleanup, nothing_to_complete},
};
use crate::faulty::{
    EVERY, Fault,
    frame::{Irp, cancel, completion_against_insertion},
};

struct Correct;

impl Steps for Correct {}

struct CancelTestedFirst;

impl Steps for CancelTestedFirst {
    fn arm(irp: Irp) -> bool {
        // SAFETY: the IRP is the caller's.
        if unsafe { nt::irp::is_cancel_requested(irp.0) } {
            return true;
        }
        // SAFETY: as above.
        unsafe { IoSetCancelRoutine(irp.0, Some(cancel::<OwnQueue<Self>>)) };
        false
    }
}

pub(in crate::faulty) const CANCEL_TESTED_FIRST: Fault = Fault {
    name: "own_queue::cancel_tested_first",
    twin_name: "own_queue::cancel_tested_first, corrected",
    what: "Irp->Cancel is tested before the Cancel routine is set: what is cancelled between is never called back",
    rule: Rule::IrpCancelField,
    search: EVERY,
    faulty: cancel_against_insertion::<CancelTestedFirst>,
    twin: cancel_against_insertion::<Correct>,
};

struct NotTakenBack;

impl Steps for NotTakenBack {
    fn arm(irp: Irp) -> bool {
        // SAFETY: the caller holds the queue's lock.
        unsafe { IoSetCancelRoutine(irp.0, Some(cancel::<OwnQueue<Self>>)) };
        // SAFETY: as above.
        unsafe { nt::irp::is_cancel_requested(irp.0) }
    }
}

pub(in crate::faulty) const NOT_TAKEN_BACK: Fault = Fault {
    name: "own_queue::not_taken_back",
    twin_name: "own_queue::not_taken_back, corrected",
    what: "Irp->Cancel is found set, and the IRP completed without a second IoSetCancelRoutine(NULL)",
    rule: Rule::CompleteRequest,
    search: EVERY,
    faulty: cancel_against_insertion::<NotTakenBack>,
    twin: cancel_against_insertion::<Correct>,
};

struct ArmedAfterUnlock;

impl Steps for ArmedAfterUnlock {
    fn insert(queue: &Queue, irp: Irp) -> NTSTATUS {
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(queue.lock()) };
        Self::link(queue, irp);
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(queue.lock(), old_irql) };
        if Self::arm(irp) {
            irp.complete(STATUS_CANCELLED);
        }
        STATUS_PENDING
    }
}

pub(in crate::faulty) const ARMED_AFTER_UNLOCK: Fault = Fault {
    name: "own_queue::armed_after_unlock",
    twin_name: "own_queue::armed_after_unlock, corrected",
    what: "the Cancel routine is set after the queue's lock is released: by then another thread may have completed the IRP",
    rule: Rule::CompletedIrp,
    search: EVERY,
    faulty: completion_against_insertion::<OwnQueue<ArmedAfterUnlock>>,
    twin: completion_against_insertion::<OwnQueue<Correct>>,
};

struct TakenAnyway;

impl Steps for TakenAnyway {
    fn disarm(irp: Irp) -> bool {
        // SAFETY: the caller holds the queue's lock.
        unsafe { IoSetCancelRoutine(irp.0, None) };
        true
    }
}

pub(in crate::faulty) const TAKEN_ANYWAY: Fault = Fault {
    name: "own_queue::taken_anyway",
    twin_name: "own_queue::taken_anyway, corrected",
    what: "who removes an IRP ignores that IoSetCancelRoutine(NULL) gave NULL: both it and the Cancel routine complete",
    rule: Rule::DoubleCompletion,
    search: EVERY,
    faulty: cancel_against_completion::<TakenAnyway>,
    twin: cancel_against_completion::<Correct>,
};

struct NotDisarmed;

impl Steps for NotDisarmed {
    fn disarm(_: Irp) -> bool {
        true
    }
}

pub(in crate::faulty) const NOT_DISARMED: Fault = Fault {
    name: "own_queue::not_disarmed",
    twin_name: "own_queue::not_disarmed, corrected",
    what: "an IRP is completed while its Cancel routine is set; for microsoft/Windows-driver-samples, pull request 217 \
           says so of the serial sample's requests",
    rule: Rule::CompleteRequest,
    search: EVERY,
    faulty: cancel_against_completion::<NotDisarmed>,
    twin: cancel_against_completion::<Correct>,
};

struct NotSelfLinked;

impl Steps for NotSelfLinked {
    fn unlink(entry: *mut LIST_ENTRY) {
        // SAFETY: the entry is on a list, whose lock the caller holds.
        let LIST_ENTRY { Flink, Blink } = unsafe { entry.read() };
        // SAFETY: the neighbours of an entry are alive.
        unsafe { (*Blink).Flink = Flink };
        // SAFETY: as above.
        unsafe { (*Flink).Blink = Blink };
    }
}

pub(in crate::faulty) const NOT_SELF_LINKED: Fault = Fault {
    name: "own_queue::not_self_linked",
    twin_name: "own_queue::not_self_linked, corrected",
    what: "an entry that was removed still points to its old neighbours, and the Cancel routine removes it again; \
           dokan-dev/dokany, issue 1188, is about the same two removers",
    rule: Rule::ListEntry,
    search: EVERY,
    faulty: cancel_against_completion::<NotSelfLinked>,
    twin: cancel_against_completion::<Correct>,
};

struct CompletedUnderLock;

impl Steps for CompletedUnderLock {
    fn complete_oldest(queue: &Queue, file: *mut FILE_OBJECT, status: NTSTATUS) -> bool {
        // SAFETY: the lock is initialised, and stays.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(queue.lock()) };
        let oldest = Self::remove_oldest(queue, file);
        if let Some(irp) = oldest {
            irp.complete(status);
        }
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLock(queue.lock(), old_irql) };
        oldest.is_some()
    }
}

pub(in crate::faulty) const COMPLETED_UNDER_LOCK: Fault = Fault {
    name: "own_queue::completed_under_lock",
    twin_name: "own_queue::completed_under_lock, corrected",
    what: "an IRP is completed under the queue's lock, which a completion routine above may need by its next request",
    rule: Rule::SpinLockSafe,
    search: EVERY,
    faulty: cancel_against_completion::<CompletedUnderLock>,
    twin: cancel_against_completion::<Correct>,
};

struct CompletedUnderCancelLock;

impl Steps for CompletedUnderCancelLock {
    fn cancelled(queue: &Queue, irp: Irp) {
        // SAFETY: this is the Cancel routine, which holds the cancel spin lock.
        let cancel_irql = unsafe { nt::irp::cancel_irql(irp.0) };
        // SAFETY: the lock is initialised, and stays; the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(queue.lock()) };
        // SAFETY: the entry is on the list, whose lock is held, or linked to itself.
        unsafe { RemoveEntryList(nt::irp::list_entry(irp.0)) };
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(queue.lock()) };
        irp.complete(STATUS_CANCELLED);
        // SAFETY: as at first.
        unsafe { nt::IoReleaseCancelSpinLock(cancel_irql) };
    }
}

pub(in crate::faulty) const COMPLETED_UNDER_CANCEL_LOCK: Fault = Fault {
    name: "own_queue::completed_under_cancel_lock",
    twin_name: "own_queue::completed_under_cancel_lock, corrected",
    what: "the Cancel routine completes the IRP first, and releases the cancel spin lock then",
    rule: Rule::SpinLockSafe,
    search: EVERY,
    faulty: cancel_against_insertion::<CompletedUnderCancelLock>,
    twin: cancel_against_insertion::<Correct>,
};

struct WrongCancelIrql;

impl Steps for WrongCancelIrql {
    fn cancelled(queue: &Queue, irp: Irp) {
        // SAFETY: this is the Cancel routine, which holds the cancel spin lock.
        unsafe { nt::IoReleaseCancelSpinLock(DISPATCH_LEVEL) };
        // SAFETY: the lock is initialised, and stays.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(queue.lock()) };
        // SAFETY: the entry is on the list, whose lock is held, or linked to itself.
        unsafe { RemoveEntryList(nt::irp::list_entry(irp.0)) };
        // SAFETY: the lock was acquired above.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(queue.lock()) };
        irp.complete(STATUS_CANCELLED);
    }
}

pub(in crate::faulty) const WRONG_CANCEL_IRQL: Fault = Fault {
    name: "own_queue::wrong_cancel_irql",
    twin_name: "own_queue::wrong_cancel_irql, corrected",
    what: "the Cancel routine stays at DISPATCH_LEVEL for its own lock, and never goes back to Irp->CancelIrql",
    rule: Rule::CancelSpinLockRelease,
    search: EVERY,
    faulty: cancel_against_insertion::<WrongCancelIrql>,
    twin: cancel_against_insertion::<Correct>,
};

struct CleanupStops;

impl Steps for CleanupStops {
    fn cleanup(queue: &Queue, file: *mut FILE_OBJECT) {
        Self::complete_oldest(queue, file, STATUS_CANCELLED);
    }
}

pub(in crate::faulty) const CLEANUP_STOPS: Fault = Fault {
    name: "own_queue::cleanup_stops",
    twin_name: "own_queue::cleanup_stops, corrected",
    what: "IRP_MJ_CLEANUP cancels the first IRP of its file, and forgets the others",
    rule: Rule::Cleanup,
    search: EVERY,
    faulty: cleanup::<CleanupStops>,
    twin: cleanup::<Correct>,
};

struct MarkedLate;

impl Steps for MarkedLate {
    fn link(queue: &Queue, irp: Irp) {
        // SAFETY: the caller holds the queue's lock.
        unsafe { InsertTailList(queue.list(), nt::irp::list_entry(irp.0)) };
    }

    fn answer(irp: Irp) -> NTSTATUS {
        // SAFETY: the memory is the model's, which keeps it.
        unsafe { nt::irp::IoMarkIrpPending(irp.0) };
        STATUS_PENDING
    }
}

pub(in crate::faulty) const MARKED_LATE: Fault = Fault {
    name: "own_queue::marked_late",
    twin_name: "own_queue::marked_late, corrected",
    what: "an IRP is marked pending after it was queued: it may be completed by then, and its memory another's",
    rule: Rule::MarkingQueuedIrps,
    search: EVERY,
    faulty: completion_against_insertion::<OwnQueue<MarkedLate>>,
    twin: completion_against_insertion::<OwnQueue<Correct>>,
};

struct NotMarked;

impl Steps for NotMarked {
    fn link(queue: &Queue, irp: Irp) {
        // SAFETY: the caller holds the queue's lock.
        unsafe { InsertTailList(queue.list(), nt::irp::list_entry(irp.0)) };
    }
}

pub(in crate::faulty) const NOT_MARKED: Fault = Fault {
    name: "own_queue::not_marked",
    twin_name: "own_queue::not_marked, corrected",
    what: "STATUS_PENDING is returned for an IRP that was not marked pending",
    rule: Rule::MarkIrpPending2,
    search: EVERY,
    faulty: cleanup::<NotMarked>,
    twin: cleanup::<Correct>,
};

struct MarkedAndAnswered;

impl Steps for MarkedAndAnswered {
    fn answer(_: Irp) -> NTSTATUS {
        STATUS_SUCCESS
    }
}

pub(in crate::faulty) const MARKED_AND_ANSWERED: Fault = Fault {
    name: "own_queue::marked_and_answered",
    twin_name: "own_queue::marked_and_answered, corrected",
    what: "an IRP is marked pending and kept, and STATUS_SUCCESS is returned; the WDK's warning C28143 is about it",
    rule: Rule::MarkIrpPending,
    search: EVERY,
    faulty: cleanup::<MarkedAndAnswered>,
    twin: cleanup::<Correct>,
};

struct OtherStatus;

impl Steps for OtherStatus {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        STATUS_SUCCESS
    }
}

pub(in crate::faulty) const OTHER_STATUS: Fault = Fault {
    name: "own_queue::other_status",
    twin_name: "own_queue::other_status, corrected",
    what: "STATUS_SUCCESS is returned whatever the IRP was completed with, as by xenserver/win-xenvif before its pull \
           request 7",
    rule: Rule::CompleteRequestStatusCheck,
    search: EVERY,
    faulty: nothing_to_complete::<OtherStatus>,
    twin: nothing_to_complete::<Correct>,
};

struct AnsweredPending;

impl Steps for AnsweredPending {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        irp.complete(status);
        STATUS_PENDING
    }
}

pub(in crate::faulty) const ANSWERED_PENDING: Fault = Fault {
    name: "own_queue::answered_pending",
    twin_name: "own_queue::answered_pending, corrected",
    what: "STATUS_PENDING is returned for an IRP that was completed at once",
    rule: Rule::PendedCompletedRequest,
    search: EVERY,
    faulty: nothing_to_complete::<AnsweredPending>,
    twin: nothing_to_complete::<Correct>,
};

struct NotCompleted;

impl Steps for NotCompleted {
    fn end(irp: Irp, status: NTSTATUS) -> NTSTATUS {
        if status >= 0 {
            irp.complete(status);
        }
        status
    }
}

pub(in crate::faulty) const NOT_COMPLETED: Fault = Fault {
    name: "own_queue::not_completed",
    twin_name: "own_queue::not_completed, corrected",
    what: "an error is returned, and the IRP not completed; in microsoft/Windows-driver-samples CdoOperations.c did, \
           before pull request 41",
    rule: Rule::IrpProcessingComplete,
    search: EVERY,
    faulty: nothing_to_complete::<NotCompleted>,
    twin: nothing_to_complete::<Correct>,
};
