//! What does not depend on how many other requests wait: completing one by its tag, and closing a handle.

use std::time::{Duration, Instant};

use interlock_abi::{Pend, RECORDS_PER_OPEN, queue};

use crate::error::{Error, Result};
use crate::status::Status;
use crate::target::{DEADLINE, Device, Request, fifo};

/// How many others wait.
const OTHERS: [u32; 4] = [10, 1_000, 10_000, 100_000];

/// How many times each is measured among so many others; the median counts.
const ROUNDS: usize = 301;

/// How much longer anything may take among the most than among the fewest. Memory that is in no cache costs that much; a walk
/// of all that wait would take thousands of times as long.
const MOST_GROWTH: f64 = 3.0;

/// How many requests each of two handles has, of which one is closed; and how much longer closing may take for each request of
/// the more, before that is no linear growth.
const FEW: u32 = 1_000;
const MANY: u32 = 50_000;
const MOST_CLOSE_GROWTH: f64 = 5.0;

/// What is measured among others.
struct Row {
    name: &'static str,
    /// The queue on which the others wait.
    queue: u32,
    measure: fn() -> Result<Duration>,
}

const ROWS: [Row; 4] = [
    Row {
        name: "complete by tag",
        queue: queue::FIFO,
        measure: complete_by_tag,
    },
    Row {
        name: "cancel",
        queue: queue::FIFO,
        measure: cancel,
    },
    Row {
        name: "close, fifo",
        queue: queue::FIFO,
        measure: close,
    },
    Row {
        name: "close, serial",
        queue: queue::SERIAL,
        measure: close,
    },
];

/// Measures, prints a table, and fails if anything takes longer the more others wait.
pub fn loaded() -> Result<()> {
    let columns: String = OTHERS.map(|others| format!("{others:>10}")).concat();
    anstream::println!("\nmicroseconds among others{columns}");
    let mut grown = Vec::new();
    for row in &ROWS {
        let mut times = [Duration::ZERO; OTHERS.len()];
        for (time, others) in times.iter_mut().zip(OTHERS) {
            *time = among(row, others)?;
        }
        let micros = times.map(|time| time.as_secs_f64() * 1e6);
        let shown = micros.map(|micros| format!("{micros:>10.2}")).concat();
        anstream::println!("{:<25}{shown}", row.name);
        let growth = micros[OTHERS.len() - 1] / micros[0];
        if growth > MOST_GROWTH {
            grown.push(format!("{} {growth:.1} times", row.name));
        }
    }
    let closes = [FEW, MANY].map(|count| Ok((count, close_one_of_two(count)?)));
    let mut each = Vec::new();
    for close in closes {
        let (count, time) = close?;
        let micros = time.as_secs_f64() * 1e6 / f64::from(count);
        anstream::println!(
            "closing one of two handles with {count} requests each: {:.1} ms, {micros:.2} microseconds a request",
            time.as_secs_f64() * 1e3
        );
        each.push(micros);
    }
    if each[1] > each[0] * MOST_CLOSE_GROWTH {
        grown.push(format!("closing {:.1} times", each[1] / each[0]));
    }
    if !grown.is_empty() {
        return Err(Error::failed(format!(
            "among the most others it takes longer than among the fewest: {}",
            grown.join(", ")
        )));
    }
    Ok(())
}

/// The median of a row's times while so many others wait.
fn among(row: &Row, others: u32) -> Result<Duration> {
    let mut crowd = Crowd::new(row.queue, others)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        times.push((row.measure)()?);
    }
    crowd.leave()?;
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

/// Requests that wait while something else is measured.
struct Crowd {
    handles: Vec<Device>,
    requests: Vec<Request>,
}

impl Crowd {
    fn new(queue: u32, count: u32) -> Result<Self> {
        let mut crowd = Self {
            handles: Vec::new(),
            requests: Vec::new(),
        };
        for index in 0..count {
            if index.is_multiple_of(RECORDS_PER_OPEN) {
                crowd.handles.push(Device::open()?);
            }
            let handle = &crowd.handles[crowd.handles.len() - 1];
            // On a queue that serves, the first is served for as long as all take.
            let service_ms = if queue == queue::FIFO { 0 } else { 1000 };
            let request = handle.pend_on(Pend {
                queue,
                service_ms,
                ..fifo(u64::from(index) + FIRST_OTHER)
            })?;
            crowd.requests.push(request);
        }
        Ok(crowd)
    }

    /// Cancels all that still wait, and sees to it that each has ended.
    fn leave(&mut self) -> Result<()> {
        for handle in self.handles.drain(..) {
            handle.close();
        }
        for request in &self.requests {
            expect(request, &[Status::CANCELLED, Status::SUCCESS])?;
        }
        Ok(())
    }
}

/// The tag of the request that is measured, and the first of the others.
const TAG: u64 = 1;
const FIRST_OTHER: u64 = 1000;

fn expect(request: &Request, allowed: &[Status]) -> Result<()> {
    let ended = request.wait(DEADLINE)?.map(|end| end.status);
    if ended.is_some_and(|status| allowed.contains(&status)) {
        return Ok(());
    }
    Err(Error::failed(format!(
        "a request ended with {ended:?}, and may end with {allowed:?}"
    )))
}

/// Runs something, and says how long it took.
fn time<R>(work: impl FnOnce() -> Result<R>) -> Result<(Duration, R)> {
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed(), result))
}

fn complete_by_tag() -> Result<Duration> {
    let device = Device::open()?;
    let request = device.pend(TAG)?;
    let (time, found) = time(|| device.complete_by_tag(TAG))?;
    if !found {
        return Err(Error::failed("a request was not found by its tag"));
    }
    expect(&request, &[Status::SUCCESS])?;
    Ok(time)
}

fn cancel() -> Result<Duration> {
    let device = Device::open()?;
    let request = device.pend(TAG)?;
    let (time, _) = time(|| request.cancel())?;
    expect(&request, &[Status::CANCELLED])?;
    Ok(time)
}

/// Closes a handle that has one request.
fn close() -> Result<Duration> {
    let device = Device::open()?;
    let request = device.pend(TAG)?;
    let (time, ()) = time(|| {
        device.close();
        Ok(())
    })?;
    expect(&request, &[Status::CANCELLED])?;
    Ok(time)
}

fn close_one_of_two(count: u32) -> Result<Duration> {
    let (one, other) = (Device::open()?, Device::open()?);
    let mut requests = Vec::new();
    for tag in 0..u64::from(count) {
        requests.push(one.pend(2 * tag)?);
        requests.push(other.pend(2 * tag + 1)?);
    }
    let (time, ()) = time(|| {
        one.close();
        Ok(())
    })?;
    other.close();
    for request in &requests {
        expect(request, &[Status::CANCELLED])?;
    }
    Ok(time)
}
