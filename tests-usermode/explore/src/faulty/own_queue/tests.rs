//! The tests of this family.

use std::sync::Arc;

use nt::{STATUS_CANCELLED, STATUS_NOT_FOUND};
use ntmodel::{File, Kernel};

use super::{OwnQueue, Steps};
use crate::{
    faulty::frame::{self, set_up},
    harness::{COMPLETE, PEND, status_if},
};

/// One thread sends a request and another completes it.
pub(super) fn completion_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    frame::completion_against_insertion::<OwnQueue<S>>(kernel);
}

/// One thread sends a request and another cancels it, before, during or after that.
pub(super) fn cancel_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<OwnQueue<S>>(kernel);
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let request = harness.send(PEND);
    if !canceller.join() {
        // The cancellation came before the request was queued.
        assert!(request.cancel());
    }
    harness.end(&request, &[STATUS_CANCELLED]);
    harness.tear_down();
}

/// A request is pending; one thread completes it and another cancels it.
pub(super) fn cancel_against_completion<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<OwnQueue<S>>(kernel);
    let request = Arc::new(harness.send(PEND));
    let other = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || other.cancel());
    let completed = harness.complete();
    canceller.join();
    harness.end(&request, &[status_if(completed)]);
    harness.tear_down();
}

/// Two requests are pending, and their file is closed.
pub(super) fn cleanup<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<OwnQueue<S>>(kernel);
    let requests = [harness.send(PEND), harness.send(PEND)];
    harness.tear_down();
    for request in requests {
        assert_eq!(request.status(), Some(STATUS_CANCELLED));
    }
}

/// The driver is requested to complete the oldest request while none is pending.
pub(super) fn nothing_to_complete<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<OwnQueue<S>>(kernel);
    assert_eq!(harness.send(COMPLETE).answer(), STATUS_NOT_FOUND);
    harness.tear_down();
}
