//! `bench`: the performance of the model kernel, with many requests and with many schedules.

mod load;

use std::time::{Duration, Instant};

use fastrand::Rng;
use interlock_abi::RECORDS_PER_OPEN;
use interlock_explore::find;
use ntmodel::explore::{Search, explore};

use crate::cli::On;
use crate::client::{Device, Sent, expect_all_cancelled};
use crate::error::{Error, Exit, Result, ensure};
use crate::target;

/// How many requests are pending at a time.
const COUNTS: [u32; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];

/// The maximum ratio of the times per request with the most and with the fewest pending requests. Caches account for a smaller
/// difference; more growth than this is not linear.
const MAX_GROWTH: f64 = 5.0;

/// How many schedules must be explored per second.
const LEAST_RATE: f64 = 5_000.0;

/// The test that measures exploration.
const TEST: &str = "queue::cancel_against_completion";

/// Measures, and prints tables.
pub fn bench() -> Result<Exit> {
    target::start(&On::MODEL)?;
    load::closing()?;
    anstream::println!("requests  pend      cancel    complete  a request, in microseconds");
    let mut each = Vec::new();
    for count in COUNTS {
        // The shortest of three measurements counts, since the memory is not in the cache at first.
        let mut times = [Duration::MAX; 3];
        for _ in 0..3 {
            let again = measure(count)?;
            times = std::array::from_fn(|part| times[part].min(again[part]));
        }
        let micros = |time: Duration, count: u32| time.as_secs_f64() * 1e6 / f64::from(count);
        let [pend, cancel, complete] = times;
        anstream::println!(
            "{count:>8}  {:>8.2}  {:>8.2}  {:>8.2}",
            micros(pend, count),
            micros(cancel, count / 2),
            micros(complete, count / 2)
        );
        each.push(micros(pend + cancel + complete, count));
    }
    load::loaded()?;
    target::stop()?;
    explored()?;
    let growth = match each[..] {
        [first, .., last] => last / first,
        _ => 1.0,
    };
    ensure(growth <= MAX_GROWTH, || {
        format!(
            "a request takes {growth:.1} times as long with the most pending requests as with the fewest, which is not linear"
        )
    })?;
    anstream::println!(
        "\na request takes {growth:.1} times as long with the most pending requests as with the fewest"
    );
    Ok(Exit::Passed)
}

/// Sends `count` requests, cancels half of them in random order, and completes the others; returns how long each part took.
fn measure(count: u32) -> Result<[Duration; 3]> {
    let opens = count.div_ceil(RECORDS_PER_OPEN);
    let devices: Vec<Device> = (0..opens).map(|_| Device::open()).collect::<Result<_>>()?;
    let start = Instant::now();
    let in_turn = devices.iter().cycle().zip(0..u64::from(count));
    let requests = in_turn.map(|(device, tag)| device.pend(tag));
    let mut requests: Vec<Sent> = requests.collect::<Result<_>>()?;
    let pended = start.elapsed();

    Rng::with_seed(1).shuffle(&mut requests);
    let start = Instant::now();
    let half = requests.len() / 2;
    for request in &requests[..half] {
        request.cancel()?;
    }
    let cancelled = start.elapsed();

    let start = Instant::now();
    devices[0].complete_oldest(u32::MAX)?;
    let completed = start.elapsed();

    expect_all_cancelled(&requests[..half])?;
    for sent in &requests[half..] {
        sent.expect_completed()?;
    }
    Ok([pended, cancelled, completed])
}

/// Measures the number of schedules of a test with two threads that are explored per second.
fn explored() -> Result<()> {
    let test =
        find(TEST).ok_or_else(|| Error::failed(format!("the test {TEST} does not exist")))?;
    let explored = explore(
        Search::Random {
            schedules: 20_000,
            seed: 1,
        },
        test.run,
    );
    let explored = explored.map_err(|found| Error::failed(found.to_string()))?;
    let rate = f64::from(u32::try_from(explored.schedules).unwrap_or(u32::MAX))
        / explored.time.as_secs_f64();
    anstream::println!(
        "\n{TEST}: {} schedules, {rate:.0} per second",
        explored.schedules
    );
    ensure(rate >= LEAST_RATE, || {
        format!("{rate:.0} schedules were explored per second, not {LEAST_RATE:.0}")
    })
}
