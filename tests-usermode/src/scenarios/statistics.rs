//! What the device measures.

use std::time::Duration;

use interlock_abi::{PROCESSORS, Pend, Routine, Statistics, queue};

use super::session::{Session, TICK, Tally, expect_pended, send};
use super::stack::{pop, stacked};
use super::{Context, Scenario, Verdict, ensure, eventually, scenario};
use crate::target::{self, DEADLINE, Device, fifo};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "statistics::latency",
        "the time that a request took is added to the sum, and is not above the longest",
        &[],
        latency,
    ),
    scenario(
        "statistics::records",
        "a record is in use until its request has ended, or it is popped",
        &[],
        records,
    ),
    scenario(
        "statistics::processors",
        "what was accepted on each processor adds up to all that was, and DPCs are counted",
        &[Routine::KeGetCurrentProcessorNumber],
        processors,
    ),
];

/// A time in 100 ns.
fn units(time: Duration) -> i64 {
    i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX)
}

/// Waits until the device has measured this; returns what it measures then. A request's end may be seen
/// a moment before it is in the statistics.
fn measured(
    device: &Device,
    what: &str,
    holds: impl Fn(&Statistics) -> bool,
) -> Verdict<Statistics> {
    let mut statistics = device.statistics()?;
    eventually(
        DEADLINE,
        || format!("{what} is not measured"),
        || {
            statistics = device.statistics()?;
            Ok(holds(&statistics))
        },
    )?;
    Ok(statistics)
}

/// One request that is served for some time: it took as long at least, and no longer than was waited for it.
fn latency(_: &Context) -> Verdict {
    const SERVICE_MS: u32 = 50;
    let session = Session::begin()?;
    let before = session.device.statistics()?;
    let pend = Pend {
        queue: queue::SERIAL,
        service_ms: SERVICE_MS,
        ..fifo(1)
    };
    let start = target::now();
    let request = session.device.pend_on(pend)?;
    expect_pended(pend, &request)?;
    let (least, most) = (
        units(Duration::from_millis(SERVICE_MS.into()).saturating_sub(TICK)),
        units(target::now().saturating_sub(start) + TICK),
    );
    let took = |after: &Statistics| after.latency - before.latency;
    let after = measured(&session.device, "the service time", |after| {
        took(after) >= least
    })?;
    ensure(took(&after) <= most, || {
        format!(
            "a request that took less than {most} is measured as {}",
            took(&after)
        )
    })?;
    ensure(after.longest >= took(&after).max(before.longest), || {
        format!(
            "a request took {}, and the longest {}, before it {}",
            took(&after),
            after.longest,
            before.longest
        )
    })?;
    session.settle(Tally {
        completed: 1,
        ..Tally::default()
    })
}

/// Requests that wait and requests on the stack have records; it is seen that they are given back.
fn records(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let device = &session.device;
    let before = device.statistics()?.records_in_use;
    let in_use = |expected: u32| {
        let what = format!("that {expected} records are in use more than before");
        let statistics = measured(device, &what, |statistics| {
            statistics.records_in_use == before + expected
        })?;
        ensure(statistics.records >= statistics.records_in_use, || {
            format!("there are no so many records: {statistics:?}")
        })
    };
    let waiting = session.pend(0..10)?;
    in_use(10)?;
    for (pend, request) in &send(device, &[stacked(10), stacked(11), stacked(12)])? {
        expect_pended(*pend, request)?;
    }
    in_use(13)?;
    let completed = device.complete_oldest(u32::MAX)?;
    ensure(completed as usize == waiting.len(), || {
        format!("{completed} requests were completed, not {}", waiting.len())
    })?;
    for (tag, request) in &waiting {
        expect_pended(fifo(*tag), request)?;
    }
    in_use(3)?;
    for left in [2, 1, 0] {
        pop(device)?;
        in_use(left)?;
    }
    session.settle(Tally {
        completed: 13,
        ..Tally::default()
    })
}

/// Requests that are drained by a DPC.
fn processors(_: &Context) -> Verdict {
    const COUNT: u32 = 20;
    let session = Session::begin()?;
    let device = &session.device;
    let before = device.statistics()?;
    for tag in 0..u64::from(COUNT) {
        let pend = Pend {
            queue: queue::INTERLOCKED,
            ..fifo(tag)
        };
        expect_pended(pend, &device.pend_on(pend)?)?;
    }
    let sum = |statistics: &Statistics, of: fn(&interlock_abi::ProcessorStatistics) -> u32| {
        let each = statistics.processor.iter().map(of);
        each.fold(0, u32::wrapping_add)
    };
    let accepted = |statistics: &Statistics| sum(statistics, |processor| processor.accepted);
    let dpcs = |statistics: &Statistics| sum(statistics, |processor| processor.dpcs);
    // Each was completed by a DPC, and had ended before the next was sent; so there was one for each.
    let after = measured(device, "a DPC for each request", |after| {
        dpcs(after).wrapping_sub(dpcs(&before)) >= COUNT
    })?;
    let more = accepted(&after).wrapping_sub(accepted(&before));
    ensure(more == COUNT, || {
        format!("{COUNT} requests were sent, and {more} accepted by all processors together")
    })?;
    // Nothing but these requests has been sent since the session began, so this is the same as all.
    let submitted = session.before.submitted + u64::from(COUNT);
    ensure(
        u64::from(accepted(&after)) == submitted & u64::from(u32::MAX),
        || {
            format!(
                "{submitted} requests were accepted, and {} by all processors together",
                accepted(&after)
            )
        },
    )?;
    let there = usize::try_from(after.processors).unwrap_or(PROCESSORS);
    let absent = after.processor.iter().skip(there);
    let idle = absent.clone().all(|one| one.accepted == 0 && one.dpcs == 0);
    ensure(there > 0 && idle, || {
        format!("a processor that is not there has done something: {after:?}")
    })?;
    session.settle(Tally {
        completed: u64::from(COUNT),
        ..Tally::default()
    })
}
