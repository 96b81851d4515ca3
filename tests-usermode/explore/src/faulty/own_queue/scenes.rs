//! The scenes of this family.

use std::sync::Arc;

use nt::{STATUS_CANCELLED, STATUS_NOT_FOUND, STATUS_SUCCESS};
use ntmodel::Kernel;

use super::{OwnQueue, Steps};
use crate::faulty::frame::{self, COMPLETE, Harness, PEND, end_of};

/// One actor sends a request and another completes it.
pub(super) fn completion_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    frame::completion_against_insertion::<OwnQueue<S>>(kernel);
}

/// One actor sends a request and another cancels it, before, during or after that.
pub(super) fn cancel_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = Harness::set_up::<OwnQueue<S>>(kernel);
    let file = Arc::clone(&harness.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let request = harness.send(PEND);
    if !canceller.join() {
        // The canceller ran too early.
        assert!(request.cancel());
    }
    assert_eq!(end_of(&request), STATUS_CANCELLED);
    harness.tear_down();
}

/// A request is pending; one actor completes it and another cancels it.
pub(super) fn cancel_against_completion<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = Harness::set_up::<OwnQueue<S>>(kernel);
    let request = Arc::new(harness.send(PEND));
    let other = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || other.cancel());
    let completed = harness.send(COMPLETE).answer();
    canceller.join();
    let expected = if completed == STATUS_SUCCESS {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    assert_eq!(end_of(&request), expected);
    harness.tear_down();
}

/// Two requests are pending, and their file is closed.
pub(super) fn cleanup<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = Harness::set_up::<OwnQueue<S>>(kernel);
    let requests = [harness.send(PEND), harness.send(PEND)];
    harness.tear_down();
    for request in requests {
        assert_eq!(request.status(), Some(STATUS_CANCELLED));
    }
}

/// The oldest request is to be completed, but none is pending.
pub(super) fn nothing_to_complete<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = Harness::set_up::<OwnQueue<S>>(kernel);
    assert_eq!(harness.send(COMPLETE).answer(), STATUS_NOT_FOUND);
    harness.tear_down();
}
