//! Requests that are cancelled.

use std::thread;

use interlock_abi::Routine;

use super::complete::{complete_tag, expect_in_order};
use super::session::{Session, Tally, expect_cancelled, expect_pending, expect_success, pend};
use super::{Context, Halt, Scenario, Verdict, ensure, scenario};
use crate::target::{Device, Request};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "cancel::one_of_many",
        "CancelIoEx of one request ends that one and leaves its neighbours pending, in order",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        one_of_many,
    ),
    scenario(
        "cancel::threads_own",
        "CancelIo ends the requests of the calling thread and leaves another thread's pending",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        threads_own,
    ),
    scenario(
        "cancel::all_of_a_handle",
        "CancelIoEx of a whole handle ends its requests and leaves another handle's pending",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        all_of_a_handle,
    ),
    scenario(
        "cancel::at_once",
        "a request that is cancelled as soon as it is sent ends as cancelled, 10,000 times",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        at_once,
    ),
    scenario(
        "cancel::twice",
        "a second cancellation of the same request changes nothing",
        &[
            Routine::IoSetCancelRoutine,
            Routine::IoReleaseCancelSpinLock,
        ],
        twice,
    ),
    scenario(
        "cancel::completed",
        "cancelling a request that was completed finds nothing and changes nothing",
        &[Routine::IoSetCancelRoutine],
        completed,
    ),
];

/// The first, the last and some in the middle are cancelled; the others are completed in order.
fn one_of_many(_: &Context) -> Verdict {
    const CANCELLED: [usize; 5] = [5, 0, 15, 6, 10];
    let session = Session::begin()?;
    let mut requests = session.pend(0..16)?;
    for (count, index) in CANCELLED.into_iter().enumerate() {
        let (tag, request) = &requests[index];
        expect_pending(*tag, request)?;
        cancel_found(*tag, request)?;
        expect_cancelled(*tag, request)?;
        for (other, (tag, request)) in requests.iter().enumerate() {
            if !CANCELLED[..=count].contains(&other) {
                expect_pending(*tag, request)?;
            }
        }
    }
    requests.retain(|(_, request)| !request.is_done());
    complete_the_rest(&session, &requests)?;
    session.settle(Tally {
        completed: 11,
        cancelled: 5,
        ..Tally::default()
    })
}

/// Two threads pend through the same handle; one of them cancels what it sent.
fn threads_own(_: &Context) -> Verdict {
    let session = Session::begin()?;
    // The first one's requests must be those of a thread that still runs.
    let kept = session.pend(0..10)?;
    let other = || -> Verdict {
        let own = session.pend(100..110)?;
        session.device.cancel_threads_own()?;
        for (tag, request) in &own {
            expect_cancelled(*tag, request)?;
        }
        Ok(())
    };
    thread::scope(|scope| join(scope.spawn(other)))?;
    for (tag, request) in &kept {
        expect_pending(*tag, request)?;
    }
    complete_the_rest(&session, &kept)?;
    session.settle(Tally {
        completed: 10,
        cancelled: 10,
        ..Tally::default()
    })
}

/// Two handles pend; all of one are cancelled.
fn all_of_a_handle(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let other = Device::open()?;
    let (mut kept, mut cancelled) = (Vec::new(), Vec::new());
    for tag in 0..20 {
        kept.append(&mut pend(&session.device, [tag])?);
        cancelled.append(&mut pend(&other, [tag])?);
    }
    let found = other.cancel_all()?;
    ensure(found, || "CancelIoEx found no request of the handle".into())?;
    for (tag, request) in &cancelled {
        expect_cancelled(*tag, request)?;
    }
    for (tag, request) in &kept {
        expect_pending(*tag, request)?;
    }
    complete_the_rest(&session, &kept)?;
    session.settle(Tally {
        completed: 20,
        cancelled: 20,
        ..Tally::default()
    })
}

/// Sent and cancelled, over and over.
fn at_once(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let rounds = context.rounds(10_000);
    for tag in 0..rounds {
        let request = session.device.pend(tag)?;
        cancel_found(tag, &request)?;
        expect_cancelled(tag, &request)?;
    }
    session.settle(Tally {
        cancelled: rounds,
        ..Tally::default()
    })
}

/// Cancelled, and cancelled again both before and after the end is waited for.
fn twice(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let rounds = context.rounds(100);
    for tag in 0..rounds {
        let request = session.device.pend(tag)?;
        cancel_found(tag, &request)?;
        // It may or may not have ended by now, so either answer is right.
        request.cancel()?;
        expect_cancelled(tag, &request)?;
        cancel_not_found(tag, &request)?;
        expect_cancelled(tag, &request)?;
    }
    session.settle(Tally {
        cancelled: rounds,
        ..Tally::default()
    })
}

/// Completed, then cancelled.
fn completed(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let rounds = context.rounds(100);
    for tag in 0..rounds {
        let request = session.device.pend(tag)?;
        expect_pending(tag, &request)?;
        complete_tag(&session.device, tag)?;
        let order = expect_success(tag, &request)?;
        cancel_not_found(tag, &request)?;
        let again = expect_success(tag, &request)?;
        ensure(order == again, || {
            format!("request {tag} was completed as number {order} and then as {again}")
        })?;
    }
    session.settle(Tally {
        completed: rounds,
        ..Tally::default()
    })
}

/// Cancels a request that pends, which must be found.
pub fn cancel_found(tag: u64, request: &Request) -> Verdict {
    let found = request.cancel()?;
    ensure(found, || {
        format!("CancelIoEx did not find request {tag}, which pends")
    })
}

fn cancel_not_found(tag: u64, request: &Request) -> Verdict {
    let found = request.cancel()?;
    ensure(!found, || {
        format!("CancelIoEx found request {tag}, which has ended")
    })
}

/// Completes what still pends and checks that it comes in the order in which it was sent.
fn complete_the_rest(session: &Session, requests: &[(u64, Request)]) -> Verdict {
    let completed = session.device.complete_oldest(u32::MAX)?;
    ensure(completed as usize == requests.len(), || {
        format!("{completed} requests pended, not {}", requests.len())
    })?;
    expect_in_order(requests, session.before.completed)
}

/// Waits for a thread of a scenario's.
pub fn join<T>(thread: thread::ScopedJoinHandle<'_, Verdict<T>>) -> Verdict<T> {
    let panicked = |_| Err(Halt::Failed("a thread of the scenario panicked".into()));
    thread.join().unwrap_or_else(panicked)
}
