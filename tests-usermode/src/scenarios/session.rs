//! What every scenario does around its own steps: count before, count after, look at each request.

use std::time::Duration;

use interlock_abi::{Counters, Pend, Pended};

use super::{Halt, Verdict, ensure};
use crate::status::Status;
use crate::target::{Completion, DEADLINE, Device, Request, fifo};

/// The longest that a system's clock takes from one tick to the next. A timer counts ticks, so it may expire
/// so much before its time.
pub const TICK: Duration = Duration::from_millis(16);

/// How many pended requests ended how, and how many requests were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ended with `STATUS_SUCCESS`.
    pub completed: u64,
    /// Ended with `STATUS_CANCELLED`.
    pub cancelled: u64,
    /// Refused as malformed.
    pub rejected: u64,
    /// Refused since the open had as many records as it may.
    pub over_quota: u64,
}

/// A handle of the device, and what the device had counted when it was opened.
#[derive(Debug)]
pub struct Session {
    /// The handle.
    pub device: Device,
    /// The counters when the scenario began.
    pub before: Counters,
}

impl Session {
    /// Opens the device. Nothing may pend: the queue is the whole device's, and what a stranger has in
    /// it would be completed here.
    pub fn begin() -> Verdict<Self> {
        let device = Device::open()?;
        let before = device.counters()?;
        ensure(before.pending == 0, || {
            format!(
                "{} requests pend before the scenario begins: does somebody else use the device?",
                before.pending
            )
        })?;
        Ok(Self { device, before })
    }

    /// Pends a request with each of the tags.
    pub fn pend(&self, tags: impl IntoIterator<Item = u64>) -> Verdict<Vec<(u64, Request)>> {
        pend(&self.device, tags)
    }

    /// Checks that since the beginning the device has counted exactly this, with nothing pending.
    pub fn settle(&self, tally: Tally) -> Verdict {
        let after = self.device.counters()?;
        let expected = Counters {
            submitted: self.before.submitted + tally.completed + tally.cancelled,
            completed: self.before.completed + tally.completed,
            cancelled: self.before.cancelled + tally.cancelled,
            aborted: self.before.aborted,
            rejected: self.before.rejected + tally.rejected,
            over_quota: self.before.over_quota + tally.over_quota,
            pending: 0,
        };
        ensure(after == expected, || {
            format!("the counters do not add up:\nexpected {expected:?}\n but they are {after:?}")
        })
    }
}

/// Pends a request with each of the tags, through a handle, and checks that they do pend.
pub fn pend(device: &Device, tags: impl IntoIterator<Item = u64>) -> Verdict<Vec<(u64, Request)>> {
    let pend_one = |tag| {
        let request = device.pend(tag)?;
        expect_pending(tag, &request)?;
        Ok((tag, request))
    };
    tags.into_iter().map(pend_one).collect()
}

/// Sends requests, each to the queue that it names, whether or not they pend.
pub fn send(device: &Device, pends: &[Pend]) -> Verdict<Vec<(Pend, Request)>> {
    let send_one = |pend: &Pend| Ok((*pend, device.pend_on(*pend)?));
    pends.iter().map(send_one).collect()
}

/// Checks that a request has not ended.
pub fn expect_pending(tag: u64, request: &Request) -> Verdict {
    if !request.is_done() {
        return Ok(());
    }
    let end = end_of(tag, request)?;
    Err(Halt::Failed(format!(
        "request {tag} should pend, but ended with {}",
        end.status
    )))
}

/// Checks that a request on *fifo* was completed with success, its own tag and nothing more; returns its
/// order.
pub fn expect_success(tag: u64, request: &Request) -> Verdict<u64> {
    Ok(expect_pended(fifo(tag), request)?.order)
}

/// Checks that a request was completed with success and what it was sent with.
pub fn expect_pended(pend: Pend, request: &Request) -> Verdict<Pended> {
    let end = end_of(pend.tag, request)?;
    ensure(end.status == Status::SUCCESS, || {
        format!(
            "request {} ended with {}, not with success",
            pend.tag, end.status
        )
    })?;
    let pended: Pended = end.read()?;
    let own = Pended {
        tag: pend.tag,
        queue: pend.queue,
        key: pend.key,
        reserved: 0,
        ..pended
    };
    ensure(pended == own, || format!("{pend:?} ended as {pended:?}"))?;
    Ok(pended)
}

/// Checks that a request was completed with success as this number; returns what it was completed with.
pub fn expect_order(pend: Pend, request: &Request, expected: u64) -> Verdict<Pended> {
    let pended = expect_pended(pend, request)?;
    ensure(pended.order == expected, || {
        format!(
            "request {} was completed as number {}, not {expected}",
            pend.tag, pended.order
        )
    })?;
    Ok(pended)
}

/// Checks that requests were completed as the next numbers after `before` others, each once.
pub fn expect_each_order_once(before: u64, mut orders: Vec<u64>) -> Verdict {
    orders.sort_unstable();
    let wrong = (before + 1..)
        .zip(&orders)
        .find(|(expected, order)| expected != *order);
    ensure(wrong.is_none(), || {
        format!("a number is missing or there twice: (expected, order) is {wrong:?}")
    })
}

/// Checks that a request was cancelled: the status, Information 0, and nothing written.
pub fn expect_cancelled(tag: u64, request: &Request) -> Verdict {
    let end = end_of(tag, request)?;
    expect_end_without_data(tag, &end, &[Status::CANCELLED])
}

/// Checks that a request ended with one of the statuses, Information 0, and nothing written.
pub fn expect_end_without_data(tag: u64, end: &Completion, allowed: &[Status]) -> Verdict {
    ensure(allowed.contains(&end.status), || {
        format!(
            "request {tag} ended with {}, not with {allowed:?}",
            end.status
        )
    })?;
    ensure(end.information == 0 && end.rest_is_untouched(), || {
        format!(
            "request {tag} ended with {} and Information {}, output {:02x?}",
            end.status, end.information, end.output
        )
    })
}

/// Waits for a request's end.
pub fn end_of(tag: u64, request: &Request) -> Verdict<Completion> {
    request.wait(DEADLINE)?.ok_or_else(|| {
        Halt::Failed(format!(
            "request {tag} did not end within {} s",
            DEADLINE.as_secs()
        ))
    })
}
