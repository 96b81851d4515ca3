//! A driver that keeps one request, with a Cancel routine, until another request completes it.

use std::{cell::Cell, ptr::null_mut, sync::Arc};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Kernel, Request};

use crate::{
    frame::{CORRECT, Lock, release_cancel},
    steps::{FIRST, SECOND, Stage, Steps, cancel, complete, end_of, mark},
};

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/failure-to-check-a-driver-s-state>
const OVERWRITES: u8 = 1;
const CLEARS_LATE: u8 = 2;
const KEEPS_AGAIN: u8 = 3;
const COMPLETES_UNLOCKED: u8 = 4;
/// The correct driver that keeps the request at the first attempt to complete it.
const KEEPS_CANCELABLE: u8 = 10;

struct Slot<const M: u8>;

struct Own {
    lock: Lock,
    kept: Cell<*mut IRP>,
    attempts: Cell<u32>,
}

impl Own {
    fn keep<const M: u8>(&self, irp: *mut IRP) -> NTSTATUS {
        let irql = self.lock.acquire();
        let refused = if !matches!(M, OVERWRITES | CLEARS_LATE) && !self.kept.get().is_null() {
            Some(nt::STATUS_UNSUCCESSFUL)
        } else if Self::make_cancelable::<M>(irp) {
            self.kept.set(irp);
            None
        } else {
            Some(STATUS_CANCELLED)
        };
        self.lock.release(irql);
        if let Some(status) = refused {
            complete(irp, status);
        }
        STATUS_PENDING
    }

    fn make_cancelable<const M: u8>(irp: *mut IRP) -> bool {
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Slot<M>>)));
        !nt!(irp::is_cancel_requested(irp)) || nt!(irp::IoSetCancelRoutine(irp, None)).is_none()
    }

    /// Takes the kept request, if it is not being cancelled.
    fn take(&self) -> *mut IRP {
        self.lock.with(|| {
            let irp = self.kept.replace(null_mut());
            if irp.is_null() || nt!(irp::IoSetCancelRoutine(irp, None)).is_none() {
                return null_mut();
            }
            irp
        })
    }

    fn end<const M: u8>(&self, status: NTSTATUS) {
        match M {
            CLEARS_LATE => {
                let irp = self.kept.get();
                if !irp.is_null() && nt!(irp::IoSetCancelRoutine(irp, None)).is_some() {
                    complete(irp, status);
                    self.lock.with(|| self.kept.set(null_mut()));
                }
            }
            COMPLETES_UNLOCKED => {
                let irp = self.lock.with(|| self.kept.get());
                if !irp.is_null() {
                    nt!(irp::IoSetCancelRoutine(irp, None));
                    complete(irp, status);
                    self.lock.with(|| self.kept.set(null_mut()));
                }
            }
            _ => {
                let irp = self.take();
                if !irp.is_null() {
                    complete(irp, status);
                }
            }
        }
    }
}

impl<const M: u8> Steps for Slot<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            return own.keep::<M>(irp);
        }
        if matches!(M, KEEPS_AGAIN | KEEPS_CANCELABLE) && own.attempts.replace(1) == 0 {
            let kept = own.take();
            if !kept.is_null() {
                if M == KEEPS_CANCELABLE {
                    own.keep::<M>(kept);
                } else {
                    own.kept.set(kept);
                }
            }
        } else {
            own.end::<M>(STATUS_SUCCESS);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Own, _: *mut FILE_OBJECT) {
        own.end::<M>(STATUS_CANCELLED);
    }

    fn cancel(own: &Own, irp: *mut IRP) {
        release_cancel(nt!(irp::cancel_irql(irp)));
        own.lock.with(|| {
            if own.kept.get() == irp {
                own.kept.set(null_mut());
            }
        });
        complete(irp, STATUS_CANCELLED);
    }
}

/// Closes the handle, and waits for the requests.
fn end(stage: Stage, requests: impl IntoIterator<Item = Request>) {
    stage.file.close_handle();
    for request in requests {
        end_of(&request);
    }
    stage.tear_down();
}

/// Sends two requests that are to be kept, and closes the file.
fn two_are_kept<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Slot<M>>(kernel);
    let requests = [FIRST, FIRST].map(|code| stage.send(code));
    end(stage, requests);
}

/// One thread completes the first request, and another sends the next.
fn next_is_kept<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Slot<M>>(kernel);
    let first = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()));
    });
    end_of(&first);
    let next = stage.send(FIRST);
    other.join();
    end(stage, [next]);
}

/// One thread cancels the request, and another completes it.
fn cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Slot<M>>(kernel);
    let first = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    end_of(&stage.send(SECOND));
    canceller.join();
    end(stage, [first]);
}

pairs! {
    request_replaces_the_kept_one:
        two_are_kept::<OVERWRITES>, two_are_kept::<CORRECT>, IrpProcessingComplete, "";
    kept_request_is_cleared_after_it_was_completed:
        next_is_kept::<CLEARS_LATE>, next_is_kept::<CORRECT>, IrpProcessingComplete, "";
    request_that_is_kept_again_has_no_cancel_routine:
        cancelled::<KEEPS_AGAIN>, cancelled::<KEEPS_CANCELABLE>, IrpProcessingComplete, "";
    kept_request_is_completed_although_it_is_being_cancelled:
        cancelled::<COMPLETES_UNLOCKED>, cancelled::<CORRECT>, DoubleCompletion, "completed again";
}
