//! The queues whose requests are served one at a time: *keyed* and *serial*.

use std::time::Duration;

use interlock_abi::{Pend, queue};

use super::session::TICK;
use super::{Scenario, Session, Tally, on_threads};
use crate::client::{Device, expect_all_cancelled, expect_all_pending, on_queue};
use crate::error::{Result, ensure};
use crate::target;

/// How long a request holds the device, in milliseconds, while others are sent and cancelled behind it. Under an emulator these take long.
const HOLD_MS: u32 = 600;

/// The scenarios of *keyed*, in the order in which they run.
pub const KEYED: &[Scenario] = scenarios! { "keyed":
    // After 15 the next key is 20, which two requests have, then 30; no key follows 30, so the smallest is next.
    service_order => |session| service_order(session, queue::KEYED, &[15, 30, 10, 20, 20, 5], &[0, 3, 4, 1, 5, 2]),
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue],
        "the request served next has the next larger key, or else the smallest; equal keys are served in order of arrival";
    one_at_a_time => |session| one_at_a_time(session, queue::KEYED),
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue],
        "requests by key are served one after another, each for its whole service time";
    cancel_queued => |session| cancel_queued(session, queue::KEYED),
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue, KeRemoveEntryDeviceQueue, IoSetCancelRoutine],
        "a request queued by key ends when it is cancelled, and its neighbours are served in order";
    cancel_served => |session| cancel_served(session, queue::KEYED),
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue],
        "cancelling the request that is being served by key has no effect: it ends after its service time";
    cancel_against_service,
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue, KeRemoveEntryDeviceQueue, IoSetCancelRoutine],
        "one thread cancels its requests and another waits for service, 2,000 times each: every request ends once";
    close_handle => |session| close_handle(session, queue::KEYED),
        [KeInsertByKeyDeviceQueue, KeRemoveByKeyDeviceQueue, KeRemoveEntryDeviceQueue, IoSetCancelRoutine],
        "closing a handle cancels its requests queued by key, but not the one being served, nor those of another handle";
};

/// The scenarios of *serial*, in the order in which they run.
pub const SERIAL: &[Scenario] = scenarios! { "serial":
    service_order => |session| service_order(session, queue::SERIAL, &[0; 6], &[0, 1, 2, 3, 4, 5]),
        [KeInsertDeviceQueue, KeRemoveDeviceQueue],
        "requests without keys are served in order of arrival";
    one_at_a_time => |session| one_at_a_time(session, queue::SERIAL),
        [KeInsertDeviceQueue, KeRemoveDeviceQueue],
        "requests without keys are served one after another, each for its whole service time";
    cancel_queued => |session| cancel_queued(session, queue::SERIAL),
        [KeInsertDeviceQueue, KeRemoveDeviceQueue, KeRemoveEntryDeviceQueue, IoSetCancelRoutine],
        "a request queued without a key ends when it is cancelled, and its neighbours are served in order";
    cancel_served => |session| cancel_served(session, queue::SERIAL),
        [KeInsertDeviceQueue, KeRemoveDeviceQueue],
        "cancelling the request that is being served without a key has no effect: it ends after its service time";
    close_handle => |session| close_handle(session, queue::SERIAL),
        [KeInsertDeviceQueue, KeRemoveDeviceQueue, KeRemoveEntryDeviceQueue, IoSetCancelRoutine],
        "closing a handle cancels its requests queued without keys, but not the one being served, nor those of another handle";
};

fn served(queue: u32, tag: u64, key: u32, service_ms: u32) -> Pend {
    Pend {
        // *serial* has no keys.
        key: if queue == queue::KEYED { key } else { 0 },
        service_ms,
        ..on_queue(queue, tag)
    }
}

/// Sends a request with each key, the first of which holds the device, and checks in which order they end.
fn service_order(session: &Session, queue: u32, keys: &[u32], order: &[usize]) -> Result<Tally> {
    let service_ms = |tag| if tag == 0 { HOLD_MS } else { 0 };
    let pends = (0..)
        .zip(keys)
        .map(|(tag, key)| served(queue, tag, *key, service_ms(tag)));
    let requests = session.device.send_all(pends)?;
    expect_all_pending(&requests)?;
    session.expect_in_order(0, order.iter().map(|index| &requests[*index]))?;
    Ok(Tally::completed(requests.len() as u64))
}

/// All requests are sent together; they take the sum of their service times.
fn one_at_a_time(session: &Session, queue: u32) -> Result<Tally> {
    const SERVICE_MS: u32 = 40;
    let start = target::now();
    let pends = (0..5).map(|tag| served(queue, tag, 7, SERVICE_MS));
    for (nth, sent) in (1..).zip(&session.device.send_all(pends)?) {
        session.expect_nth(nth.into(), sent)?;
        expect_elapsed(start, SERVICE_MS * nth)?;
    }
    Ok(Tally::completed(5))
}

/// Of the queued requests, the first, the last and one in the middle are cancelled.
fn cancel_queued(session: &Session, queue: u32) -> Result<Tally> {
    let pends = (0..6).map(|tag| served(queue, tag, 10, if tag == 0 { HOLD_MS } else { 0 }));
    let requests = session.device.send_all(pends)?;
    expect_all_pending(&requests)?;
    for index in [3, 1, 5] {
        requests[index].expect_cancel()?;
    }
    let kept = || [0, 2, 4].map(|index| &requests[index]);
    expect_all_pending(kept())?;
    session.expect_in_order(0, kept())?;
    Ok(Tally::completed(3).cancelled(3))
}

/// The request that is being served no longer has a Cancel routine, so its service continues, and then the next request is served.
fn cancel_served(session: &Session, queue: u32) -> Result<Tally> {
    const SERVICE_MS: u32 = 100;
    let start = target::now();
    let pends = [served(queue, 0, 1, SERVICE_MS), served(queue, 1, 2, 0)];
    let requests = session.device.send_all(pends)?;
    // The system may find it, although that has no effect.
    requests[0].cancel()?;
    for (nth, sent) in (1..).zip(&requests) {
        session.expect_nth(nth, sent)?;
        expect_elapsed(start, SERVICE_MS)?;
    }
    Ok(Tally::completed(2))
}

/// Both handles have requests queued behind one that is being served for the handle that is closed.
fn close_handle(session: &Session, queue: u32) -> Result<Tally> {
    let closed = Device::open()?;
    let mut completed = vec![closed.send(served(queue, 0, 0, HOLD_MS))?];
    let mut cancelled = Vec::new();
    for tag in 1..=10 {
        cancelled.push(closed.send(served(queue, tag, 10, 0))?);
        completed.push(session.device.send(served(queue, 100 + tag, 10, 0))?);
    }
    expect_all_pending(completed.iter().chain(&cancelled))?;
    closed.close();
    expect_all_cancelled(&cancelled)?;
    session.expect_in_order(0, &completed)?;
    Ok(Tally::completed(11).cancelled(10))
}

/// One thread cancels its requests as soon as they are sent. Another also sends requests, and some of those hold the device
/// for a moment, so that there is something to cancel.
fn cancel_against_service(session: &Session) -> Result<Tally> {
    let other = Device::open()?;
    let rounds = session.rounds(2000);
    let orders = on_threads(2, |thread| {
        if thread == 0 {
            cancel_rounds(&session.device, rounds)
        } else {
            serve_rounds(&other, rounds)
        }
    })?;
    let cancelled = rounds - orders[0].len() as u64;
    let orders = orders.concat();
    session.expect_each_order_once(&orders)?;
    Ok(Tally::completed(orders.len() as u64).cancelled(cancelled))
}

/// Returns the key of each round, which is now smaller and now larger than the one before.
fn key(round: u64) -> u32 {
    [4, 1, 7, 3][(round % 4) as usize]
}

/// Cancels each request; returns the order numbers of those that were served nevertheless.
fn cancel_rounds(device: &Device, rounds: u64) -> Result<Vec<u64>> {
    let mut orders = Vec::new();
    for round in 0..rounds {
        let sent = device.send(served(queue::KEYED, round, key(round), 0))?;
        let found = sent.cancel()?;
        match sent.expect_completed_or_cancelled()? {
            Some(pended) => orders.push(pended.order),
            None => ensure(found, || {
                format!("request {round} ended as cancelled, but was not cancelled")
            })?,
        }
    }
    Ok(orders)
}

/// Waits for each request to be served; returns the order numbers.
fn serve_rounds(device: &Device, rounds: u64) -> Result<Vec<u64>> {
    let serve = |round| {
        let service_ms = u32::from(round % 16 == 0);
        let sent = device.send(served(queue::KEYED, round, key(round), service_ms))?;
        Ok(sent.expect_completed()?.order)
    };
    (0..rounds).map(serve).collect()
}

/// Checks that this time has passed, to the precision of a timer.
fn expect_elapsed(start: Duration, least_ms: u32) -> Result {
    let elapsed = target::now().saturating_sub(start);
    ensure(
        elapsed + TICK >= Duration::from_millis(least_ms.into()),
        || format!("it took {elapsed:?}, less than the service time of {least_ms} ms"),
    )
}
