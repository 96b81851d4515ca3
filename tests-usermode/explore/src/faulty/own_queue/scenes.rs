//! What the actors do to the queue.

use std::sync::Arc;

use nt::{STATUS_CANCELLED, STATUS_NOT_FOUND, STATUS_SUCCESS};
use ntmodel::Kernel;

use super::{OwnQueue, Steps};
use crate::faulty::frame::{COMPLETE, PEND, Stage, end_of};

/// One actor sends a request, and another one cancels it, before, meanwhile or after.
pub(super) fn cancel_against_insertion<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<OwnQueue<S>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let request = stage.send(PEND);
    if !canceller.join() {
        // The canceller came too early.
        assert!(request.cancel());
    }
    assert_eq!(end_of(&request), STATUS_CANCELLED);
    stage.strike();
}

/// A request is kept; one actor completes it, and another one cancels it.
pub(super) fn cancel_against_completion<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<OwnQueue<S>>(kernel);
    let request = Arc::new(stage.send(PEND));
    let other = Arc::clone(&request);
    let canceller = kernel.actor("canceller", move || other.cancel());
    let completed = stage.send(COMPLETE).answer();
    canceller.join();
    let expected = if completed == STATUS_SUCCESS {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    assert_eq!(end_of(&request), expected);
    stage.strike();
}

/// Two requests are kept, and their file is closed.
pub(super) fn cleanup<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<OwnQueue<S>>(kernel);
    let requests = [stage.send(PEND), stage.send(PEND)];
    stage.strike();
    for request in requests {
        assert_eq!(request.status(), Some(STATUS_CANCELLED));
    }
}

/// The oldest request is completed, and there is none.
pub(super) fn nothing_to_complete<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<OwnQueue<S>>(kernel);
    assert_eq!(stage.send(COMPLETE).answer(), STATUS_NOT_FOUND);
    stage.strike();
}
