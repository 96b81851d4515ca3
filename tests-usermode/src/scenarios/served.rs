//! The queues that are served: *keyed* and *serial*.

use std::thread;
use std::time::Duration;

use interlock_abi::{Pend, Routine, queue};

use super::cancel::{cancel_found, join};
use super::session::{
    Session, TICK, Tally, end_of, expect_cancelled, expect_each_order_once, expect_order,
    expect_pended, expect_pending, send,
};
use super::{Context, Scenario, Verdict, ensure, scenario};
use crate::status::Status;
use crate::target::{self, Device, Request};

/// How long a request holds the device, in milliseconds, while others are queued behind it.
const HOLD_MS: u32 = 300;

const BY_KEY: &[Routine] = &[
    Routine::KeInsertByKeyDeviceQueue,
    Routine::KeRemoveByKeyDeviceQueue,
];
const BY_KEY_CANCELED: &[Routine] = &[
    Routine::KeInsertByKeyDeviceQueue,
    Routine::KeRemoveByKeyDeviceQueue,
    Routine::KeRemoveEntryDeviceQueue,
    Routine::IoSetCancelRoutine,
];
const IN_TURN: &[Routine] = &[Routine::KeInsertDeviceQueue, Routine::KeRemoveDeviceQueue];
const IN_TURN_CANCELED: &[Routine] = &[
    Routine::KeInsertDeviceQueue,
    Routine::KeRemoveDeviceQueue,
    Routine::KeRemoveEntryDeviceQueue,
    Routine::IoSetCancelRoutine,
];

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "keyed::service_order",
        "the next request served has the next key, then the smallest; equal keys as they came",
        BY_KEY,
        keyed_service_order,
    ),
    scenario(
        "keyed::one_at_a_time",
        "requests by key are served one after another, each for its whole service time",
        BY_KEY,
        |_| one_at_a_time(queue::KEYED),
    ),
    scenario(
        "keyed::cancel_queued",
        "a request queued by key ends when it is cancelled, and its neighbours are served in order",
        BY_KEY_CANCELED,
        |_| cancel_queued(queue::KEYED),
    ),
    scenario(
        "keyed::cancel_served",
        "cancelling the request that is being served by key changes nothing: it ends in its time",
        BY_KEY,
        |_| cancel_served(queue::KEYED),
    ),
    scenario(
        "keyed::cancel_against_service",
        "one thread cancels and another has served, 2,000 times each: every request ends once",
        BY_KEY_CANCELED,
        cancel_against_service,
    ),
    scenario(
        "keyed::close_handle",
        "closing a handle cancels what it has queued by key, and nothing served, and no other handle's",
        BY_KEY_CANCELED,
        |_| close_handle(queue::KEYED),
    ),
    scenario(
        "serial::service_order",
        "requests without keys are served in the order in which they came",
        IN_TURN,
        serial_service_order,
    ),
    scenario(
        "serial::one_at_a_time",
        "requests without keys are served one after another, each for its whole service time",
        IN_TURN,
        |_| one_at_a_time(queue::SERIAL),
    ),
    scenario(
        "serial::cancel_queued",
        "a request queued without a key ends when it is cancelled, its neighbours are served in order",
        IN_TURN_CANCELED,
        |_| cancel_queued(queue::SERIAL),
    ),
    scenario(
        "serial::cancel_served",
        "cancelling the request that is being served without a key changes nothing: it ends in its time",
        IN_TURN,
        |_| cancel_served(queue::SERIAL),
    ),
    scenario(
        "serial::close_handle",
        "closing a handle cancels what it has queued without keys, and nothing served, and no other's",
        IN_TURN_CANCELED,
        |_| close_handle(queue::SERIAL),
    ),
];

/// A request for a queue that serves.
fn served(queue: u32, tag: u64, key: u32, service_ms: u32) -> Pend {
    Pend {
        tag,
        queue,
        // *serial* has no keys.
        key: if queue == queue::KEYED { key } else { 0 },
        service_ms,
        reserved: 0,
    }
}

/// The first request holds the device while the others are queued.
fn keyed_service_order(_: &Context) -> Verdict {
    // After 15 comes 20, and twice, then 30; there is none after that, so the smallest is next.
    served_in_order(queue::KEYED, &[15, 30, 10, 20, 20, 5], &[0, 3, 4, 1, 5, 2])
}

fn serial_service_order(_: &Context) -> Verdict {
    served_in_order(queue::SERIAL, &[0; 6], &[0, 1, 2, 3, 4, 5])
}

/// Sends a request with each key, the first of which holds the device, and checks in which order they end.
fn served_in_order(queue: u32, keys: &[u32], order: &[usize]) -> Verdict {
    let session = Session::begin()?;
    let service_ms = |tag| if tag == 0 { HOLD_MS } else { 0 };
    let pends = (0..).zip(keys);
    let pends: Vec<Pend> = pends
        .map(|(tag, key)| served(queue, tag, *key, service_ms(tag)))
        .collect();
    let requests = send(&session.device, &pends)?;
    expect_all_pending(&requests)?;
    for (expected, index) in (session.before.completed + 1..).zip(order) {
        let (pend, request) = &requests[*index];
        expect_order(*pend, request, expected)?;
    }
    session.settle(Tally {
        completed: requests.len() as u64,
        ..Tally::default()
    })
}

/// All are sent at once; together they take as long as all their service times.
fn one_at_a_time(queue: u32) -> Verdict {
    const SERVICE_MS: u32 = 40;
    let session = Session::begin()?;
    let pends: Vec<Pend> = (0..5)
        .map(|tag| served(queue, tag, 7, SERVICE_MS))
        .collect();
    let start = target::now();
    let requests = send(&session.device, &pends)?;
    for (expected, (pend, request)) in (session.before.completed + 1..).zip(&requests) {
        expect_order(*pend, request, expected)?;
        let served = u64::from(SERVICE_MS) * (pend.tag + 1);
        expect_elapsed(start, Duration::from_millis(served))?;
    }
    session.settle(Tally {
        completed: 5,
        ..Tally::default()
    })
}

/// The first, the last and one in the middle of those queued are cancelled.
fn cancel_queued(queue: u32) -> Verdict {
    const CANCELLED: [usize; 3] = [3, 1, 5];
    let session = Session::begin()?;
    let mut pends = vec![served(queue, 0, 0, HOLD_MS)];
    pends.extend((1..6).map(|tag| served(queue, tag, 10, 0)));
    let mut requests = send(&session.device, &pends)?;
    expect_all_pending(&requests)?;
    for index in CANCELLED {
        let (pend, request) = &requests[index];
        cancel_found(pend.tag, request)?;
        expect_cancelled(pend.tag, request)?;
    }
    let mut index = 0;
    requests.retain(|_| {
        index += 1;
        !CANCELLED.contains(&(index - 1))
    });
    expect_all_pending(&requests)?;
    for (expected, (pend, request)) in (session.before.completed + 1..).zip(&requests) {
        expect_order(*pend, request, expected)?;
    }
    session.settle(Tally {
        completed: 3,
        cancelled: 3,
        ..Tally::default()
    })
}

/// The request that is being served has no Cancel routine any more, so it goes on, and then the next is
/// served.
fn cancel_served(queue: u32) -> Verdict {
    const SERVICE_MS: u32 = 100;
    let session = Session::begin()?;
    let start = target::now();
    let pends = [served(queue, 0, 1, SERVICE_MS), served(queue, 1, 2, 0)];
    let requests = send(&session.device, &pends)?;
    // The system may find it, for all that nothing comes of it.
    requests[0].1.cancel()?;
    for (expected, (pend, request)) in (session.before.completed + 1..).zip(&requests) {
        expect_order(*pend, request, expected)?;
        expect_elapsed(start, Duration::from_millis(SERVICE_MS.into()))?;
    }
    session.settle(Tally {
        completed: 2,
        ..Tally::default()
    })
}

/// Both handles have requests queued behind one that is served for the handle that is closed.
fn close_handle(queue: u32) -> Verdict {
    let session = Session::begin()?;
    let doomed = Device::open()?;
    let mut served_first = send(&doomed, &[served(queue, 0, 0, HOLD_MS)])?;
    let (mut kept, mut cancelled) = (Vec::new(), Vec::new());
    for tag in 1..=10 {
        cancelled.append(&mut send(&doomed, &[served(queue, tag, 10, 0)])?);
        kept.append(&mut send(
            &session.device,
            &[served(queue, 100 + tag, 10, 0)],
        )?);
    }
    expect_all_pending(&served_first)?;
    expect_all_pending(&cancelled)?;
    doomed.close();
    for (pend, request) in &cancelled {
        expect_cancelled(pend.tag, request)?;
    }
    served_first.append(&mut kept);
    for (expected, (pend, request)) in (session.before.completed + 1..).zip(&served_first) {
        expect_order(*pend, request, expected)?;
    }
    session.settle(Tally {
        completed: 11,
        cancelled: 10,
        ..Tally::default()
    })
}

/// This thread cancels what it sends at once; another sends meanwhile, and now and then holds the device for
/// a moment, so that there is something to cancel.
fn cancel_against_service(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let other = Device::open()?;
    let rounds = context.rounds(2000);
    let (mine, others) = thread::scope(|scope| {
        let others = scope.spawn(|| serve_rounds(&other, rounds));
        (cancel_rounds(&session.device, rounds), join(others))
    });
    let (mut orders, mut others) = (mine?, others?);
    let cancelled = rounds - orders.len() as u64;
    orders.append(&mut others);
    let completed = orders.len() as u64;
    expect_each_order_once(session.before.completed, orders)?;
    session.settle(Tally {
        completed,
        cancelled,
        ..Tally::default()
    })
}

/// A key for each round, now smaller and now larger than the one before.
fn key(round: u64) -> u32 {
    [4, 1, 7, 3][(round % 4) as usize]
}

/// Cancels what it sends; returns the orders of those that were served nevertheless.
fn cancel_rounds(device: &Device, rounds: u64) -> Verdict<Vec<u64>> {
    let mut orders = Vec::new();
    for round in 0..rounds {
        let pend = served(queue::KEYED, round, key(round), 0);
        let request = device.pend_on(pend)?;
        let found = request.cancel()?;
        if end_of(round, &request)?.status == Status::CANCELLED {
            expect_cancelled(round, &request)?;
            ensure(found, || format!("request {round} was cancelled by nobody"))?;
        } else {
            orders.push(expect_pended(pend, &request)?.order);
        }
    }
    Ok(orders)
}

/// Waits for what it sends; returns the orders.
fn serve_rounds(device: &Device, rounds: u64) -> Verdict<Vec<u64>> {
    let serve = |round| {
        let service_ms = u32::from(round % 16 == 0);
        let pend = served(queue::KEYED, round, key(round), service_ms);
        Ok(expect_pended(pend, &device.pend_on(pend)?)?.order)
    };
    (0..rounds).map(serve).collect()
}

fn expect_all_pending(requests: &[(Pend, Request)]) -> Verdict {
    requests
        .iter()
        .try_for_each(|(pend, request)| expect_pending(pend.tag, request))
}

/// Checks that so much time has passed, as far as a timer counts it.
fn expect_elapsed(start: Duration, least: Duration) -> Verdict {
    let elapsed = target::now().saturating_sub(start);
    ensure(elapsed + TICK >= least, || {
        format!("it took {elapsed:?}, less than the service time of {least:?}")
    })
}
