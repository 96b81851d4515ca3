//! Memory that only the kernel writes, and that a driver reads.

#[macro_use]
mod call;
mod steps;

use std::{
    cell::UnsafeCell,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{DEVICE_OBJECT, IRP, KEVENT, NTSTATUS, STATUS_CANCELLED, STATUS_SUCCESS};
use ntmodel::{
    Kernel, Rule,
    explore::{Search, explore},
};
use steps::{FIRST, SECOND, Stage, Steps, complete, end_of, holds, mark};

struct Kept {
    irp: AtomicPtr<IRP>,
    event: UnsafeCell<KEVENT>,
}

/// A driver that keeps one request, and reads its field `Cancel` two times. With `TWICE` it completes a request twice whose field was set
/// between the two, and whose Cancel routine was not taken yet.
struct Reads<const TWICE: bool>;

impl<const TWICE: bool> Steps for Reads<TWICE> {
    type Own = Kept;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(KeInitializeEvent(own.event.get(), 0, 0));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            let status = mark(irp);
            own.irp.store(irp, SeqCst);
            nt!(irp::IoSetCancelRoutine(irp, Some(steps::cancel::<Self>)));
            return status;
        }
        let kept = own.irp.swap(null_mut(), SeqCst);
        if kept.is_null() {
            return complete(irp, STATUS_SUCCESS);
        }
        // SAFETY: the driver owns the request that it keeps.
        let was_cancelled = unsafe { (*kept).Cancel } != 0;
        // Another thread can run before this.
        nt!(KeSetEvent(own.event.get(), 0, 0));
        // SAFETY: as above.
        let is_cancelled = unsafe { (*kept).Cancel } != 0;
        // SAFETY: as above.
        let has_routine = unsafe { (*kept).CancelRoutine }.is_some();
        nt!(irp::IoSetCancelRoutine(kept, None));
        complete(kept, STATUS_SUCCESS);
        if TWICE && is_cancelled && has_routine && !was_cancelled {
            complete(kept, STATUS_CANCELLED);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn cancel(own: &Self::Own, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(irql));
        // The thread that takes it completes it.
        if !own.irp.swap(null_mut(), SeqCst).is_null() {
            complete(irp, STATUS_CANCELLED);
        }
    }
}

/// Cancels a request while it is completed.
fn cancelled<const TWICE: bool>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Reads<TWICE>>(kernel);
    let request = Arc::new(stage.send(FIRST));
    let request_clone = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || request_clone.cancel());
    end_of(&stage.send(SECOND));
    canceller.join();
    end_of(&request);
    stage.tear_down();
}

#[test]
fn the_field_cancel_is_set_between_two_reads() {
    let found = explore(Search::every(100_000), cancelled::<true>);
    let found = found.expect_err("a rule is broken");
    assert_eq!(found.violation.rule, Rule::DoubleCompletion, "\n{found}");
    holds(cancelled::<false>);
}
