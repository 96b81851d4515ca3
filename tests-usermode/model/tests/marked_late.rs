//! An IRP that is marked pending after another thread can complete it.

#[macro_use]
mod call;
mod steps;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_CANCELLED, STATUS_SUCCESS};
use ntmodel::{Kernel, Rule};
use steps::{FIRST, SECOND, Stage, Steps, breaks, complete, end_of, holds, mark};

/// A driver that keeps one request. With `AFTER` it marks the request pending after it has stored it.
struct Marks<const AFTER: bool>;

impl<const AFTER: bool> Steps for Marks<AFTER> {
    type Own = AtomicPtr<IRP>;

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST && AFTER {
            own.store(irp, SeqCst);
            return mark(irp);
        }
        if code == FIRST {
            let status = mark(irp);
            own.store(irp, SeqCst);
            return status;
        }
        complete_kept(own, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Self::Own, _: *mut nt::FILE_OBJECT) {
        complete_kept(own, STATUS_CANCELLED);
    }
}

fn complete_kept(kept: &AtomicPtr<IRP>, status: NTSTATUS) {
    let kept = kept.swap(null_mut(), SeqCst);
    if !kept.is_null() {
        complete(kept, status);
    }
}

/// Sends a request that is kept, and another one that completes it.
fn kept<const AFTER: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Marks<AFTER>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()))
    });
    let request = stage.send(FIRST);
    other.join();
    end_of(&stage.send(SECOND));
    end_of(&request);
    stage.tear_down();
}

#[test]
fn a_request_is_marked_pending_after_another_thread_can_complete_it() {
    breaks(kept::<true>, Rule::MarkingQueuedIrps, "has completed it");
    holds(kept::<false>);
}
