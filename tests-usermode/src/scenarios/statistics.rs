//! The device's statistics.

use std::time::Duration;

use interlock_abi::{PROCESSORS, Pend, ProcessorStatistics, Statistics, queue};

use super::session::TICK;
use super::stack::{pop, push};
use super::{Scenario, Session, Tally, eventually};
use crate::client::{Device, on_queue};
use crate::error::{Result, ensure};
use crate::target;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "statistics":
    latency, [],
        "the time that a request took is added to the sum, and does not exceed the longest";
    records, [],
        "a record is in use until its request has ended, or it is popped";
    processors, [KeGetCurrentProcessorNumber],
        "the requests accepted on each processor add up to the total, and DPCs are counted";
};

/// Converts a time to units of 100 ns.
fn units(time: Duration) -> i64 {
    i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX)
}

/// Waits until the statistics are as expected; returns them. The end of a request may be seen a moment before the
/// statistics are updated.
fn measured(
    device: &Device,
    what: &str,
    holds: impl Fn(&Statistics) -> bool,
) -> Result<Statistics> {
    let mut statistics = device.statistics()?;
    eventually(&format!("{what} is not in the statistics"), || {
        statistics = device.statistics()?;
        Ok(holds(&statistics))
    })?;
    Ok(statistics)
}

/// A request that is served took its service time at least, and no longer than was waited for it.
fn latency(session: &Session) -> Result<Tally> {
    const SERVICE_MS: u32 = 50;
    let device = &session.device;
    let before = device.statistics()?;
    let pend = Pend {
        service_ms: SERVICE_MS,
        ..on_queue(queue::SERIAL, 1)
    };
    let start = target::now();
    device.send(pend)?.expect_completed()?;
    let least = units(Duration::from_millis(SERVICE_MS.into()).saturating_sub(TICK));
    let most = units(target::now().saturating_sub(start) + TICK);
    let after = measured(device, "the service time", |after| {
        after.latency - before.latency >= least
    })?;
    let (took, longest) = (after.latency - before.latency, after.longest);
    ensure(took <= most, || {
        format!("a request that took less than {most} is measured as {took}")
    })?;
    ensure(longest >= took.max(before.longest), || {
        let before = before.longest;
        format!("a request took {took}, and the longest {longest}, before it {before}")
    })?;
    Ok(Tally::completed(1))
}

/// Pending requests and requests on the stack have records, which are freed.
fn records(session: &Session) -> Result<Tally> {
    let device = &session.device;
    let before = device.statistics()?.records_in_use;
    let in_use = |expected: u32| {
        let what = format!("the use of {expected} more records");
        let statistics = measured(device, &what, |statistics| {
            statistics.records_in_use == before + expected
        })?;
        ensure(statistics.records >= statistics.records_in_use, || {
            format!("more records are in use than there are: {statistics:?}")
        })
    };
    let waiting = device.pend_all(0..10)?;
    in_use(10)?;
    for tag in 10..13 {
        push(device, tag)?;
    }
    in_use(13)?;
    device.expect_complete_oldest(u32::MAX, waiting.len())?;
    for sent in &waiting {
        sent.expect_completed()?;
    }
    in_use(3)?;
    for left in [2, 1, 0] {
        pop(device)?;
        in_use(left)?;
    }
    Ok(Tally::completed(13))
}

/// Requests that are completed by a DPC.
fn processors(session: &Session) -> Result<Tally> {
    const COUNT: u32 = 20;
    let device = &session.device;
    let before = device.statistics()?;
    for tag in 0..COUNT.into() {
        let sent = device.send(on_queue(queue::INTERLOCKED, tag))?;
        sent.expect_completed()?;
    }
    let sum = |statistics: &Statistics, of: fn(&ProcessorStatistics) -> u32| {
        let each = statistics.processor.iter().map(of);
        each.fold(0, u32::wrapping_add)
    };
    let accepted = |statistics: &Statistics| sum(statistics, |processor| processor.accepted);
    let dpcs = |statistics: &Statistics| sum(statistics, |processor| processor.dpcs);
    // Each request was completed by a DPC before the next was sent, so there was a DPC for each.
    let after = measured(device, "a DPC for each request", |after| {
        dpcs(after).wrapping_sub(dpcs(&before)) >= COUNT
    })?;
    let more = accepted(&after).wrapping_sub(accepted(&before));
    ensure(more == COUNT, || {
        format!("{COUNT} requests were sent, and {more} accepted by all processors together")
    })?;
    // No other request has been sent since the session began, so the totals are the same.
    let submitted = session.before.submitted + u64::from(COUNT);
    let all = accepted(&after);
    ensure(u64::from(all) == submitted & u64::from(u32::MAX), || {
        format!("{submitted} requests were accepted, and {all} by all processors together")
    })?;
    let present = usize::try_from(after.processors).unwrap_or(PROCESSORS);
    let mut absent = after.processor.iter().skip(present);
    let idle = absent.all(|one| one.accepted == 0 && one.dpcs == 0);
    ensure(present > 0 && idle, || {
        format!("a processor that does not exist has counted something: {after:?}")
    })?;
    Ok(Tally::completed(COUNT.into()))
}
