//! Tests of the device of `interlock.sys`: its queues with their records, counters, timers and DPCs.

use interlock::Interlock;
use interlock_abi::{CompleteOldest, Counters, Pend, Pended, ioctl, queue};
use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{File, Request};
use zerocopy::{FromBytes, IntoBytes};

use crate::{MANY, Test, harness::Harness};

/// The tests.
pub const TESTS: &[Test] = tests! { "device", Interlock:
    fifo, MANY,
        "three threads send, cancel and complete requests on fifo: each is completed once and counted once";
    keyed, MANY,
        "requests with keys are cancelled while a timer completes the current one";
    serial, MANY,
        "requests without keys are cancelled while a timer completes the current one";
    interlocked, MANY,
        "two threads send requests to an interlocked list, which one DPC empties";
    stack, MANY,
        "two threads push records and one pops them: each record is popped once";
    removal, MANY,
        "the device is removed by surprise while requests arrive, wait, are served and are cancelled";
};

const ENDS: &[i32] = &[STATUS_SUCCESS, STATUS_CANCELLED];

/// Sends a request to a queue. If the queue has keys, the tag is also the key.
fn pend(file: &File, queue: u32, tag: u64, service_ms: u32) -> Request {
    let key = if queue == queue::KEYED {
        u32::try_from(tag).unwrap_or_default()
    } else {
        0
    };
    let request = Pend {
        tag,
        queue,
        key,
        service_ms,
        ..Pend::default()
    };
    crate::pend(file, request)
}

fn complete(file: &File, count: u32) {
    let input = CompleteOldest { count, reserved: 0 };
    let output = vec![0; size_of::<interlock_abi::Completed>()];
    drop(file.device_control(ioctl::COMPLETE_OLDEST, input.as_bytes(), output));
}

/// Waits for the requests to end, and checks the device's counters.
fn check_counters(harness: &Harness, requests: &[Request]) {
    let ends: Vec<i32> = requests
        .iter()
        .map(|request| harness.end(request, ENDS))
        .collect();
    let count = |status| ends.iter().filter(|end| **end == status).count() as u64;
    let output = vec![0; size_of::<Counters>()];
    let answer = harness
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
    harness.verify(counters == Some(expected), || {
        format!("the counters are {counters:?} instead of {expected:?}")
    });
}

fn fifo(harness: &Harness) {
    let sender = harness.actor("sender", &harness.file, |file| {
        vec![pend(file, queue::FIFO, 1, 0), pend(file, queue::FIFO, 2, 0)]
    });
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    complete(&harness.file, 1);
    canceller.join();
    let requests = sender.join();
    complete(&harness.file, u32::MAX);
    check_counters(harness, &requests);
}

fn keyed(harness: &Harness) {
    served(harness, queue::KEYED);
}

fn serial(harness: &Harness) {
    served(harness, queue::SERIAL);
}

fn served(harness: &Harness, queue: u32) {
    let sender = harness.actor("sender", &harness.file, move |file| {
        vec![pend(file, queue, 2, 1), pend(file, queue, 1, 1)]
    });
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let mut requests = vec![pend(&harness.file, queue, 3, 0)];
    canceller.join();
    requests.append(&mut sender.join());
    check_counters(harness, &requests);
}

fn interlocked(harness: &Harness) {
    let other = harness.actor("other sender", &harness.file, |file| {
        vec![
            pend(file, queue::INTERLOCKED, 1, 0),
            pend(file, queue::INTERLOCKED, 2, 0),
        ]
    });
    let mut requests = vec![pend(&harness.file, queue::INTERLOCKED, 3, 0)];
    requests.append(&mut other.join());
    check_counters(harness, &requests);
}

fn stack(harness: &Harness) {
    let other = harness.actor("other sender", &harness.file, |file| {
        vec![pend(file, queue::STACK, 1, 0)]
    });
    let pop = || {
        let output = vec![0; size_of::<Pended>()];
        let answer = harness
            .file
            .device_control(ioctl::POP, &[], output)
            .ended()?;
        let popped = Pended::read_from_bytes(&answer.output).ok()?;
        (answer.status == STATUS_SUCCESS).then_some(popped.tag)
    };
    let mut requests = vec![pend(&harness.file, queue::STACK, 2, 0)];
    let mut tags = vec![pop()];
    requests.append(&mut other.join());
    tags.extend([pop(), pop()]);
    tags.sort_unstable();
    harness.verify(tags == [None, Some(1), Some(2)], || {
        format!("the popped tags are {tags:?} instead of 1 and 2")
    });
    check_counters(harness, &requests);
}

fn removal(harness: &Harness) {
    let sender = harness.actor("sender", &harness.file, |file| {
        vec![
            pend(file, queue::FIFO, 1, 0),
            pend(file, queue::KEYED, 2, 1),
        ]
    });
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    harness.surprise_remove();
    canceller.join();
    for request in sender.join() {
        harness.end(
            &request,
            &[STATUS_SUCCESS, STATUS_CANCELLED, STATUS_DELETE_PENDING],
        );
    }
}
