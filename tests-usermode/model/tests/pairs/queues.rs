//! A queue of cancelable IRPs with its own spin lock.

use std::{
    cell::{Cell, UnsafeCell},
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS, irp as io,
};
use ntmodel::{File, Kernel};

use crate::{
    frame::{CORRECT, Lock, acquire_cancel, get, release_cancel},
    steps::{FIRST, SECOND, Stage, Steps, cancel, complete, end_of, mark},
};

const IS_NOT_TESTED: u8 = 1;
const CANCELS_FIRST: u8 = 2;
const TWO_ORDERS: u8 = 3;
const CANCELS_UNDER_CANCEL_LOCK: u8 = 4;
const CANCELS_UNDER_LOCK: u8 = 5;
const CANCELS_COMPLETED: u8 = 6;
const COMPLETES_WITH_PENDING: u8 = 7;
const CANCELS_WITHOUT_LOCK: u8 = 8;
const CLEANS_UP_WITHOUT_REMOVAL: u8 = 9;
const KEEPS_LOCK: u8 = 10;
const INITIALISES_LOCK: u8 = 11;
const IGNORES_ROUTINE: u8 = 13;
const LEAVES_LINKED: u8 = 14;
const READS_QUEUED: u8 = 15;
const COLLECTS_CANCELABLE: u8 = 17;
/// The correct drivers that cancel their own IRP, and that link an IRP before it is cancelable.
const CANCELS: u8 = 12;
const LINKS_FIRST: u8 = 16;
const COLLECTS: u8 = 18;

struct Queue<const M: u8>;

struct Own {
    lock: Lock,
    list: UnsafeCell<LIST_ENTRY>,
    /// The IRP that was completed last.
    last: Cell<*mut IRP>,
}

impl Own {
    fn insert<const M: u8>(&self, irp: *mut IRP) -> NTSTATUS {
        mark(irp);
        if matches!(M, LINKS_FIRST | LEAVES_LINKED) {
            return self.insert_and_make_cancelable::<M>(irp);
        }
        if M == INITIALISES_LOCK {
            self.lock.initialise();
        }
        let irql = self.lock.acquire();
        if M == TWO_ORDERS {
            let irql = acquire_cancel();
            nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Queue<M>>)));
            release_cancel(irql);
        } else {
            nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Queue<M>>)));
        }
        if M != IS_NOT_TESTED
            && nt!(irp::is_cancel_requested(irp))
            && nt!(irp::IoSetCancelRoutine(irp, None)).is_some()
        {
            self.lock.release(irql);
            complete(irp, STATUS_CANCELLED);
            return STATUS_PENDING;
        }
        nt!(list::InsertTailList(self.list.get(), io::list_entry(irp)));
        self.lock.release(irql);
        if M == READS_QUEUED {
            // For a log.
            let _ = std::hint::black_box(nt!(irp::io_control(irp)));
        }
        STATUS_PENDING
    }

    /// With [`LEAVES_LINKED`], an IRP that is being cancelled is linked to itself while the list still contains it, as in
    /// <https://github.com/dokan-dev/dokany/issues/1188>.
    fn insert_and_make_cancelable<const M: u8>(&self, irp: *mut IRP) -> NTSTATUS {
        let (irql, entry) = (self.lock.acquire(), io::list_entry(irp));
        nt!(list::InsertTailList(self.list.get(), entry));
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Queue<M>>)));
        if nt!(irp::is_cancel_requested(irp)) {
            if nt!(irp::IoSetCancelRoutine(irp, None)).is_some() {
                nt!(list::RemoveEntryList(entry));
                self.lock.release(irql);
                complete(irp, STATUS_CANCELLED);
                return STATUS_PENDING;
            }
            if M == LEAVES_LINKED {
                nt!(list::InitializeListHead(entry));
            }
        }
        self.lock.release(irql);
        STATUS_PENDING
    }

    /// Removes the first IRP that is not being cancelled.
    fn remove<const M: u8>(&self) -> *mut IRP {
        self.lock.with(|| {
            while !nt!(list::IsListEmpty(self.list.get())) {
                let entry = get(self.list.get()).Flink;
                nt!(list::RemoveEntryList(entry));
                let irp = nt!(irp::from_list_entry(entry));
                let is_ours = nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
                if is_ours || M == IGNORES_ROUTINE {
                    return irp;
                }
                // The Cancel routine removes it again.
                nt!(list::InitializeListHead(entry));
            }
            null_mut()
        })
    }

    /// Moves the IRPs to a list of its own, and completes them after the lock was released. With [`COLLECTS_CANCELABLE`] they
    /// still have their Cancel routine, as in <https://github.com/dokan-dev/dokany/issues/26>.
    fn complete_all<const M: u8>(&self) {
        let none = null_mut();
        let mut own = LIST_ENTRY {
            Flink: none,
            Blink: none,
        };
        let own = &raw mut own;
        nt!(list::InitializeListHead(own));
        self.lock.with(|| {
            while !nt!(list::IsListEmpty(self.list.get())) {
                let entry = get(self.list.get()).Flink;
                nt!(list::RemoveEntryList(entry));
                let irp = nt!(irp::from_list_entry(entry));
                if M == COLLECTS_CANCELABLE || nt!(irp::IoSetCancelRoutine(irp, None)).is_some() {
                    nt!(list::InsertTailList(own, entry));
                } else {
                    nt!(list::InitializeListHead(entry));
                }
            }
        });
        while !nt!(list::IsListEmpty(own)) {
            let entry = get(own).Flink;
            nt!(list::RemoveEntryList(entry));
            let irp = nt!(irp::from_list_entry(entry));
            nt!(irp::IoSetCancelRoutine(irp, None));
            complete(irp, STATUS_CANCELLED);
        }
    }

    /// Cancels the first IRP, as a driver does after a timeout.
    fn cancel_first<const M: u8>(&self) {
        let first = || nt!(irp::from_list_entry(get(self.list.get()).Flink));
        match M {
            CANCELS_UNDER_CANCEL_LOCK => {
                let irql = acquire_cancel();
                nt!(IoCancelIrp(first()));
                release_cancel(irql);
            }
            CANCELS_UNDER_LOCK => {
                self.lock.with(|| nt!(IoCancelIrp(first())));
            }
            _ => {
                nt!(IoCancelIrp(first()));
            }
        }
    }
}

impl<const M: u8> Steps for Queue<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        nt!(list::InitializeListHead(own.list.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            return own.insert::<M>(irp);
        }
        if matches!(M, CANCELS | CANCELS_UNDER_CANCEL_LOCK | CANCELS_UNDER_LOCK) {
            own.cancel_first::<M>();
            return complete(irp, STATUS_SUCCESS);
        }
        if matches!(M, COLLECTS | COLLECTS_CANCELABLE) {
            own.complete_all::<M>();
            return complete(irp, STATUS_SUCCESS);
        }
        if M == CANCELS_COMPLETED && !own.last.get().is_null() {
            nt!(IoCancelIrp(own.last.get()));
        }
        let removed = own.remove::<M>();
        if removed.is_null() {
            if M == KEEPS_LOCK {
                own.lock.acquire();
            }
            return complete(irp, STATUS_NOT_FOUND);
        }
        own.last.set(removed);
        complete(
            removed,
            if M == COMPLETES_WITH_PENDING {
                STATUS_PENDING
            } else {
                STATUS_SUCCESS
            },
        );
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Own, _: *mut FILE_OBJECT) {
        if M == CLEANS_UP_WITHOUT_REMOVAL {
            let mut entry = get(own.list.get()).Flink;
            while entry != own.list.get() {
                let irp = nt!(irp::from_list_entry(entry));
                entry = get(entry).Flink;
                nt!(irp::IoSetCancelRoutine(irp, None));
                complete(irp, STATUS_CANCELLED);
            }
        }
        loop {
            let irp = own.remove::<M>();
            if irp.is_null() {
                return;
            }
            complete(irp, STATUS_CANCELLED);
        }
    }

    fn cancel(own: &Own, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        match M {
            TWO_ORDERS => {
                nt!(KeAcquireSpinLockAtDpcLevel(own.lock.get()));
                nt!(list::RemoveEntryList(io::list_entry(irp)));
                nt!(KeReleaseSpinLockFromDpcLevel(own.lock.get()));
                release_cancel(irql);
            }
            CANCELS_WITHOUT_LOCK => {
                nt!(list::RemoveEntryList(io::list_entry(irp)));
                release_cancel(irql);
            }
            CANCELS_FIRST => {
                release_cancel(irql);
                let first = own.lock.with(|| {
                    let first = get(own.list.get()).Flink;
                    nt!(list::RemoveEntryList(first));
                    first
                });
                complete(nt!(irp::from_list_entry(first)), STATUS_CANCELLED);
                return;
            }
            _ => {
                release_cancel(irql);
                own.lock
                    .with(|| nt!(list::RemoveEntryList(io::list_entry(irp))));
            }
        }
        complete(irp, STATUS_CANCELLED);
    }
}

/// One thread sends a request, and another cancels it, or it is completed.
fn cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queue<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || File::cancel_all(&file));
    let request = stage.send(FIRST);
    if !canceller.join() {
        end_of(&stage.send(SECOND));
    }
    end_of(&request);
    stage.tear_down();
}

/// One thread cancels a request that another one removes.
fn removed<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queue<M>>(kernel);
    let request = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || File::cancel_all(&file));
    end_of(&stage.send(SECOND));
    canceller.join();
    end_of(&request);
    stage.tear_down();
}

/// Two threads send a request each; both are completed.
fn two_are_queued<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queue<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || file.device_control(FIRST, &[], Vec::new()));
    let one = stage.send(FIRST);
    let two = other.join();
    for _ in 0..2 {
        assert_eq!(end_of(&stage.send(SECOND)), STATUS_SUCCESS);
    }
    for request in [one, two] {
        end_of(&request);
    }
    stage.tear_down();
}

/// Sends two requests and cancels the second.
fn second_is_cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queue<M>>(kernel);
    let requests = [stage.send(FIRST), stage.send(FIRST)];
    requests[1].cancel();
    end_of(&requests[1]);
    end_of(&stage.send(SECOND));
    end_of(&requests[0]);
    stage.tear_down();
}

/// Sends requests with these codes one after the other.
fn sent<const M: u8, const CODES: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Queue<M>>(kernel);
    let codes: &[u32] = match CODES {
        0 => &[FIRST, SECOND],
        1 => &[SECOND],
        2 => &[FIRST, FIRST],
        _ => &[FIRST, SECOND, FIRST, SECOND],
    };
    let requests: Vec<_> = codes.iter().map(|code| stage.send(*code)).collect();
    stage.file.close_handle();
    for request in &requests {
        end_of(request);
    }
    stage.tear_down();
}

pairs! {
    cancel_is_not_tested_after_the_routine_was_set:
        cancelled::<IS_NOT_TESTED>, cancelled::<CORRECT>, IrpCancelField, "";
    cancel_routine_completes_the_first_irp_instead_of_its_own:
        second_is_cancelled::<CANCELS_FIRST>, second_is_cancelled::<CORRECT>, CompleteRequest, "";
    lock_is_acquired_before_and_after_the_cancel_spin_lock:
        cancelled::<TWO_ORDERS>, cancelled::<CORRECT>, LockOrder, "";
    irp_is_cancelled_under_the_cancel_spin_lock:
        sent::<CANCELS_UNDER_CANCEL_LOCK, 0>, sent::<CANCELS, 0>, CancelSpinLock, "IoCancelIrp";
    irp_is_cancelled_under_the_lock_of_its_queue:
        sent::<CANCELS_UNDER_LOCK, 0>, sent::<CANCELS, 0>, SpinLock, "";
    cancel_routine_of_a_removed_request_is_ignored:
        removed::<IGNORES_ROUTINE>, removed::<CORRECT>, ListEntry, "has completed";
    irp_is_cancelled_after_it_was_completed:
        sent::<CANCELS_COMPLETED, 3>, sent::<CORRECT, 3>, CompletedIrp, "";
    irp_is_completed_with_status_pending:
        sent::<COMPLETES_WITH_PENDING, 0>, sent::<CORRECT, 0>, CompleteRequest, "0x103";
    cancel_routine_removes_an_irp_without_the_lock_of_the_queue:
        cancelled::<CANCELS_WITHOUT_LOCK>, cancelled::<CORRECT>, PlainMemory, "";
    cleanup_completes_what_stays_on_the_list:
        sent::<CLEANS_UP_WITHOUT_REMOVAL, 2>, sent::<CORRECT, 2>, ListEntry, "which main has completed";
    entry_of_an_irp_that_is_cancelled_is_initialised_on_its_list:
        cancelled::<LEAVES_LINKED>, cancelled::<LINKS_FIRST>, CompletedIrp, "is used after canceller has completed it";
    irp_is_collected_for_completion_and_still_cancelable:
        removed::<COLLECTS_CANCELABLE>, removed::<COLLECTS>, ListEntry, "which main has completed";
    irp_is_read_after_it_was_queued:
        cancelled::<READS_QUEUED>, cancelled::<CORRECT>, FreedMemory, "an IRP that was completed";
    lock_is_kept_on_an_error_path:
        sent::<KEEPS_LOCK, 1>, sent::<CORRECT, 1>, SpinLockSafe, "";
    lock_is_initialised_for_each_request:
        two_are_queued::<INITIALISES_LOCK>, two_are_queued::<CORRECT>, LockInitialisation, "";
}
