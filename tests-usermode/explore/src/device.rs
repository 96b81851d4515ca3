//! Scenes of the whole device of `interlock.sys`: its queues with their records, counters, timers and DPCs.

use std::sync::Arc;

use interlock::Interlock;
use interlock_abi::{CompleteOldest, Counters, Pend, Pended, ioctl, queue};
use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{File, Kernel, Request};
use zerocopy::{FromBytes, IntoBytes};

use crate::{MANY, Scene, stage::Stage};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "device::fifo",
        summary: "one sends, one cancels, one completes on fifo: every request ends once, and is counted once",
        searches: MANY,
        run: fifo,
    },
    Scene {
        name: "device::keyed",
        summary: "requests by key are cancelled while a timer ends the service of one",
        searches: MANY,
        run: |kernel| served(kernel, queue::KEYED),
    },
    Scene {
        name: "device::serial",
        summary: "requests without keys are cancelled while a timer ends the service of one",
        searches: MANY,
        run: |kernel| served(kernel, queue::SERIAL),
    },
    Scene {
        name: "device::interlocked",
        summary: "two senders share an interlocked list and the DPC that drains it",
        searches: MANY,
        run: interlocked,
    },
    Scene {
        name: "device::stack",
        summary: "two senders push, one pops: each record is popped once",
        searches: MANY,
        run: stack,
    },
    Scene {
        name: "device::removal",
        summary: "the device is taken away while requests come, wait, are served and cancelled",
        searches: MANY,
        run: removal,
    },
];

const ENDS: &[i32] = &[STATUS_SUCCESS, STATUS_CANCELLED];

/// Sends a request to a queue, with its tag for a key where that has keys.
fn pend(file: &File, queue: u32, tag: u64, service_ms: u32) -> Request {
    let key = if queue == queue::KEYED {
        u32::try_from(tag).unwrap_or_default()
    } else {
        0
    };
    let pend = Pend {
        tag,
        queue,
        key,
        service_ms,
        reserved: 0,
    };
    file.device_control(ioctl::PEND, pend.as_bytes(), vec![0; size_of::<Pended>()])
}

fn complete(file: &File, count: u32) {
    let input = CompleteOldest { count, reserved: 0 };
    let output = vec![0; size_of::<interlock_abi::Completed>()];
    drop(file.device_control(ioctl::COMPLETE_OLDEST, input.as_bytes(), output));
}

/// Counts the requests that have ended with success and as cancelled, and compares that with what the device has counted.
fn settle(kernel: &Arc<Kernel>, stage: &Stage, requests: &[Request]) {
    let ends: Vec<i32> = requests
        .iter()
        .map(|request| stage.must_end(request, ENDS))
        .collect();
    let count = |status| ends.iter().filter(|end| **end == status).count() as u64;
    let output = vec![0; size_of::<Counters>()];
    let answer = stage
        .file
        .device_control(ioctl::GET_COUNTERS, &[], output)
        .ended();
    let counters = answer.and_then(|answer| Counters::read_from_bytes(&answer.output).ok());
    let expected = Counters {
        submitted: ends.len() as u64,
        completed: count(STATUS_SUCCESS),
        cancelled: count(STATUS_CANCELLED),
        ..Counters::default()
    };
    kernel.must(counters == Some(expected), || {
        format!("the device has counted {counters:?}, which should be {expected:?}")
    });
}

/// An actor that sends requests, each with the next tag.
fn sending(
    kernel: &Arc<Kernel>,
    stage: &Stage,
    name: &'static str,
    part: impl FnOnce(&File) -> Vec<Request> + Send + 'static,
) -> ntmodel::explore::Actor<Vec<Request>> {
    let file = Arc::clone(&stage.file);
    kernel.actor(name, move || part(&file))
}

fn cancelling(kernel: &Arc<Kernel>, stage: &Stage) -> ntmodel::explore::Actor<bool> {
    let file = Arc::clone(&stage.file);
    kernel.actor("canceller", move || file.cancel_all())
}

fn fifo(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Interlock>(kernel);
    let sender = sending(kernel, &stage, "sender", |file| {
        vec![pend(file, queue::FIFO, 1, 0), pend(file, queue::FIFO, 2, 0)]
    });
    let canceller = cancelling(kernel, &stage);
    complete(&stage.file, 1);
    canceller.join();
    let requests = sender.join();
    complete(&stage.file, u32::MAX);
    settle(kernel, &stage, &requests);
    stage.strike();
}

fn served(kernel: &Arc<Kernel>, queue: u32) {
    let stage = Stage::set::<Interlock>(kernel);
    let sender = sending(kernel, &stage, "sender", move |file| {
        vec![pend(file, queue, 2, 1), pend(file, queue, 1, 1)]
    });
    let canceller = cancelling(kernel, &stage);
    let mut requests = vec![pend(&stage.file, queue, 3, 0)];
    canceller.join();
    requests.append(&mut sender.join());
    settle(kernel, &stage, &requests);
    stage.strike();
}

fn interlocked(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Interlock>(kernel);
    let other = sending(kernel, &stage, "other sender", |file| {
        vec![
            pend(file, queue::INTERLOCKED, 1, 0),
            pend(file, queue::INTERLOCKED, 2, 0),
        ]
    });
    let mut requests = vec![pend(&stage.file, queue::INTERLOCKED, 3, 0)];
    requests.append(&mut other.join());
    settle(kernel, &stage, &requests);
    stage.strike();
}

fn stack(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Interlock>(kernel);
    let other = sending(kernel, &stage, "other sender", |file| {
        vec![pend(file, queue::STACK, 1, 0)]
    });
    let pop = || {
        let output = vec![0; size_of::<Pended>()];
        let answer = stage.file.device_control(ioctl::POP, &[], output).ended()?;
        let popped = Pended::read_from_bytes(&answer.output).ok()?;
        (answer.status == STATUS_SUCCESS).then_some(popped.tag)
    };
    let mut requests = vec![pend(&stage.file, queue::STACK, 2, 0)];
    let mut tags = vec![pop()];
    requests.append(&mut other.join());
    tags.extend([pop(), pop()]);
    tags.sort_unstable();
    kernel.must(tags == [None, Some(1), Some(2)], || {
        format!("these tags were popped: {tags:?}")
    });
    settle(kernel, &stage, &requests);
    stage.strike();
}

fn removal(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Interlock>(kernel);
    let sender = sending(kernel, &stage, "sender", |file| {
        vec![
            pend(file, queue::FIFO, 1, 0),
            pend(file, queue::KEYED, 2, 1),
        ]
    });
    let canceller = cancelling(kernel, &stage);
    stage.device.surprise_remove();
    canceller.join();
    for request in sender.join() {
        stage.must_end(
            &request,
            &[STATUS_SUCCESS, STATUS_CANCELLED, STATUS_DELETE_PENDING],
        );
    }
    stage.strike();
}
