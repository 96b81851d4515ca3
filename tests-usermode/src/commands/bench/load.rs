//! Times that must not depend on the number of other pending requests: completing a request by its tag, cancelling it, and
//! closing a handle.

use std::time::{Duration, Instant};

use interlock_abi::{Pend, RECORDS_PER_OPEN, queue};

use crate::client::{Device, Sent, expect_all_cancelled, on_queue};
use crate::error::{Result, ensure};
use crate::target;

/// How many other requests are pending.
const OTHERS: [u32; 4] = [10, 1_000, 10_000, 100_000];

/// The number of measurements of each; the result is their median.
const ROUNDS: usize = 301;

/// The maximum ratio of the times among the most and the fewest other requests. Cache misses account for that much; a walk
/// of all pending requests would take thousands of times as long.
const MAX_GROWTH: f64 = 3.0;

/// How many requests each of two handles has, of which one is closed, and how much longer closing may take per request with
/// many than with few.
const FEW: u32 = 1_000;
const MANY: u32 = 50_000;
const MAX_CLOSE_GROWTH: f64 = 5.0;

/// How long closing the handle with the most requests may take: the shortest of several times, since other programs make it longer.
///
/// The aim is 50 ms, 1 microsecond a request. The model makes some 20 calls for each request, with their checks, which take 0.9
/// microseconds if the request is in the cache. The limit leaves room for a busy machine.
const LONGEST_CLOSE: Duration = Duration::from_millis(150);
const CLOSE_ROUNDS: usize = 3;

/// A measurement: its name, the queue on which the other requests are pending, and the function that measures once.
type Row = (&'static str, u32, fn() -> Result<Duration>);

const ROWS: [Row; 4] = [
    ("complete by tag", queue::FIFO, complete_by_tag),
    ("cancel", queue::FIFO, cancel),
    ("close, fifo", queue::FIFO, close),
    ("close, serial", queue::SERIAL, close),
];

/// Measures how long closing a handle with many requests takes. It comes first: later the memory of adjacent requests is scattered,
/// which takes up to a third longer.
pub fn closing() -> Result {
    let mut each = Vec::new();
    for count in [FEW, MANY] {
        let mut time = Duration::MAX;
        for _ in 0..CLOSE_ROUNDS {
            time = time.min(close_one_of_two(count)?);
        }
        let micros = time.as_secs_f64() * 1e6 / f64::from(count);
        anstream::println!(
            "closing one of two handles with {count} requests each: {:.1} ms, {micros:.2} microseconds a request",
            time.as_secs_f64() * 1e3
        );
        each.push(micros);
        ensure(time <= LONGEST_CLOSE, || {
            format!("closing a handle with {count} requests takes {time:?}, not {LONGEST_CLOSE:?}")
        })?;
    }
    ensure(each[1] <= each[0] * MAX_CLOSE_GROWTH, || {
        format!("the time of closing grows {:.1} times", each[1] / each[0])
    })
}

/// Measures, prints a table, and fails if a time grows with the number of pending requests.
pub fn loaded() -> Result<()> {
    let columns: String = OTHERS.map(|others| format!("{others:>10}")).concat();
    anstream::println!(
        "\nmicroseconds, by the number of other pending requests\n{:25}{columns}",
        ""
    );
    let mut grown = Vec::new();
    for (name, queue, measure) in ROWS {
        let mut times = [Duration::ZERO; OTHERS.len()];
        for (time, others) in times.iter_mut().zip(OTHERS) {
            *time = with_others(queue, others, measure)?;
        }
        let micros = times.map(|time| time.as_secs_f64() * 1e6);
        let shown = micros.map(|micros| format!("{micros:>10.2}")).concat();
        anstream::println!("{name:<25}{shown}");
        let growth = micros[OTHERS.len() - 1] / micros[0];
        if growth > MAX_GROWTH {
            grown.push(format!("{name} {growth:.1} times"));
        }
    }
    holds()?;
    ensure(grown.is_empty(), || {
        let grown = grown.join(", ");
        format!("the time grows with the number of other pending requests: {grown}")
    })
}

/// The longest that a spin lock may be held, in processor time, however many others are pending: what Microsoft recommends.
const LONGEST_HOLD: Duration = Duration::from_micros(25);

/// The number of measurements of the holds for each number of other requests. The shortest result counts, since the first
/// access to memory takes longer.
const HOLD_ROUNDS: usize = 50;

/// Measures how long the driver's spin locks are held, and fails if that is too long with any number of other pending requests.
fn holds() -> Result {
    const SHOWN: usize = 2;
    anstream::println!("\nlongest holds of spin locks, in microseconds of processor time");
    for (name, queue) in [("fifo", queue::FIFO), ("serial", queue::SERIAL)] {
        for others in OTHERS {
            let (handles, requests) = send_others(queue, others)?;
            let rounds = (0..HOLD_ROUNDS).map(|_| {
                target::measure_holds()?;
                for measure in [complete_by_tag, cancel, close] {
                    measure()?;
                }
                target::longest_holds()
            });
            let rounds: Vec<_> = rounds.collect::<Result<_>>()?;
            drop(handles);
            for sent in &requests {
                sent.expect_completed_or_cancelled()?;
            }
            let round = rounds.into_iter().min().unwrap_or_default();
            for (time, place) in round.iter().take(SHOWN) {
                let micros = time.as_secs_f64() * 1e6;
                anstream::println!("{name:<8}{others:>8}{micros:>8.2}  {place}");
            }
            let longest = round.first().map_or(Duration::ZERO, |(time, _)| *time);
            ensure(longest <= LONGEST_HOLD, || {
                format!(
                    "with {others} other pending requests a spin lock is held for {longest:?}, not {LONGEST_HOLD:?}"
                )
            })?;
        }
    }
    Ok(())
}

/// Returns the median of a measurement while others are pending.
fn with_others(queue: u32, others: u32, measure: fn() -> Result<Duration>) -> Result<Duration> {
    let (handles, requests) = send_others(queue, others)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        times.push(measure()?);
    }
    drop(handles);
    for sent in &requests {
        sent.expect_completed_or_cancelled()?;
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

/// The tag of the request that is measured, and the first tag of the others.
const TAG: u64 = 1;
const FIRST_OTHER: u64 = 1000;

/// Sends requests that are pending while something else is measured.
fn send_others(queue: u32, count: u32) -> Result<(Vec<Device>, Vec<Sent>)> {
    let (mut handles, mut requests) = (Vec::new(), Vec::new());
    for index in 0..count {
        if index.is_multiple_of(RECORDS_PER_OPEN) {
            handles.push(Device::open()?);
        }
        // On a queue that serves, the service of the first request takes as long as the whole measurement.
        let pend = Pend {
            service_ms: if queue == queue::FIFO { 0 } else { 1000 },
            ..on_queue(queue, u64::from(index) + FIRST_OTHER)
        };
        requests.push(handles[handles.len() - 1].send(pend)?);
    }
    Ok((handles, requests))
}

/// Runs `work`; returns how long it took, and its result.
fn time<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn complete_by_tag() -> Result<Duration> {
    let device = Device::open()?;
    let sent = device.pend(TAG)?;
    let (time, completed) = time(|| device.expect_complete_by_tag(TAG, true));
    completed?;
    sent.expect_completed()?;
    Ok(time)
}

fn cancel() -> Result<Duration> {
    let device = Device::open()?;
    let sent = device.pend(TAG)?;
    let (time, found) = time(|| sent.cancel());
    found?;
    sent.expect_cancelled()?;
    Ok(time)
}

/// Closes a handle that has one request.
fn close() -> Result<Duration> {
    let device = Device::open()?;
    let sent = device.pend(TAG)?;
    let (time, ()) = time(|| device.close());
    sent.expect_cancelled()?;
    Ok(time)
}

fn close_one_of_two(count: u32) -> Result<Duration> {
    let (one, other) = (Device::open()?, Device::open()?);
    let mut requests = Vec::new();
    for tag in 0..u64::from(count) {
        requests.push(one.pend(2 * tag)?);
        requests.push(other.pend(2 * tag + 1)?);
    }
    let (time, ()) = time(|| one.close());
    other.close();
    expect_all_cancelled(&requests)?;
    Ok(time)
}
