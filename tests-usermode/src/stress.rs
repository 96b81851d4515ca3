//! Many requests of many threads, which end in every way at random.

mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use interlock_abi::Counters;

use crate::cli::Stress;
use crate::client::{Device, Orders};
use crate::error::{Error, Exit, Result};
use crate::scenarios::Tally;
use crate::target;
use worker::Worker;

/// The data that the threads share.
#[derive(Debug)]
struct Shared {
    /// Whether the threads must end their requests and stop.
    stop: AtomicBool,
    /// How many `PEND` requests were sent.
    submitted: AtomicU64,
    /// How many of them ended with success.
    completed: AtomicU64,
    /// How many of them ended as cancelled.
    cancelled: AtomicU64,
    /// How many requests `COMPLETE_OLDEST` and `COMPLETE_BY_TAG` reported as completed, and how many other queues completed.
    claimed: AtomicU64,
    /// The order numbers of the completed requests.
    orders: Mutex<Orders>,
    /// The failures.
    failures: Mutex<Vec<String>>,
}

impl Shared {
    fn new(before: &Counters) -> Self {
        Self {
            stop: AtomicBool::new(false),
            submitted: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            orders: Mutex::new(Orders::after(before.completed)),
            failures: Mutex::new(Vec::new()),
        }
    }

    /// Records a failure and stops all threads.
    fn fail(&self, failure: String) {
        lock(&self.failures).push(failure);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Compares the counts of the threads with the device's counters.
    fn check_counts(&self, before: &Counters, after: &Counters) {
        let (submitted, completed) = (count(&self.submitted), count(&self.completed));
        let (cancelled, claimed) = (count(&self.cancelled), count(&self.claimed));
        if submitted != completed + cancelled {
            self.fail(format!(
                "{submitted} requests were sent, but {completed} were completed and {cancelled} cancelled"
            ));
        }
        if claimed != completed {
            self.fail(format!(
                "the driver reports {claimed} completed requests, but {completed} were completed"
            ));
        }
        let tally = Tally::completed(completed).cancelled(cancelled);
        let orders = lock(&self.orders).check(completed);
        for result in [tally.check(before, after), orders] {
            let _ = result.map_err(|error| self.fail(error.to_string()));
        }
    }
}

/// Locks a mutex, even after a thread has panicked: its data can still be reported.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// `stress`
pub fn stress(args: &Stress) -> Result<Exit> {
    target::start(&args.on)?;
    let device = Device::open()?;
    let before = device.counters()?;
    if before.pending != 0 {
        return Err(Error::could_not_run(format!(
            "{} requests are pending already: is another program using the device?",
            before.pending
        )));
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let length = match args.requests {
        Some(requests) => format!("{requests} requests"),
        None => format!("{} s", args.seconds),
    };
    anstream::println!(
        "stress: {length}, {} threads, {} pending (seed: {seed})",
        args.threads,
        args.pending
    );
    let shared = Shared::new(&before);
    let start = Instant::now();
    thread::scope(|scope| {
        let mut rng = Rng::with_seed(seed);
        for thread in 0..args.threads {
            let quota = share(args.pending, args.threads, thread);
            let (rng, shared) = (rng.fork(), &shared);
            scope.spawn(move || {
                let worked = Worker::new(shared, thread, quota, rng).and_then(Worker::work);
                if let Err(error) = worked {
                    shared.fail(format!("thread {thread}: {error}"));
                }
            });
        }
        show_progress(&shared, args, start);
        shared.stop.store(true, Ordering::Relaxed);
    });
    // After a failure the counts differ as well.
    if lock(&shared.failures).is_empty() {
        shared.check_counts(&before, &device.counters()?);
    }
    let exit = report(&shared, start.elapsed());
    device.close();
    if exit == Exit::Passed {
        target::stop()?;
    }
    Ok(exit)
}

/// Returns how many requests one thread keeps pending.
fn share(pending: u32, threads: u16, thread: u16) -> usize {
    let (pending, threads, thread) = (pending as usize, usize::from(threads), usize::from(thread));
    pending / threads + usize::from(thread < pending % threads)
}

/// Shows a progress bar until the time is over, enough requests have ended, or a thread has failed.
fn show_progress(shared: &Shared, args: &Stress, start: Instant) {
    let (unit, length) = match args.requests {
        Some(requests) => ("requests", requests),
        None => ("s", args.seconds),
    };
    let bar = ProgressBar::new(length);
    let style =
        ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{msg}}"));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while !shared.stopped() {
        let (ended, time) = (ended(shared), start.elapsed());
        let position = args.requests.map_or(time.as_secs(), |_| ended);
        if position >= length {
            break;
        }
        if let Some(violation) = target::stopped() {
            // The threads that are in the kernel never return, so they cannot be waited for.
            anstream::println!("FAILED: the kernel has stopped:\n{violation}");
            process::exit(Exit::Failed.code().into());
        }
        bar.set_message(format!("{ended} ended, {}", rate(ended, time)));
        bar.set_position(position);
        thread::sleep(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}

fn ended(shared: &Shared) -> u64 {
    count(&shared.completed) + count(&shared.cancelled)
}

#[expect(clippy::cast_precision_loss, reason = "the rate is only displayed")]
fn rate(ended: u64, duration: Duration) -> String {
    format!("{:.0} a second", ended as f64 / duration.as_secs_f64())
}

fn report(shared: &Shared, duration: Duration) -> Exit {
    let ended = ended(shared);
    anstream::println!(
        "{ended} requests ended in {:.1} s, {}: {} completed, {} cancelled",
        duration.as_secs_f64(),
        rate(ended, duration),
        count(&shared.completed),
        count(&shared.cancelled)
    );
    let failures = lock(&shared.failures);
    for failure in failures.iter() {
        anstream::println!("FAILED: {failure}");
    }
    if !failures.is_empty() {
        return Exit::Failed;
    }
    anstream::println!("ok: no request was lost or ended twice, and the counters agree");
    Exit::Passed
}

#[cfg(test)]
mod tests {
    use super::{Shared, lock, share};
    use interlock_abi::Counters;
    use std::sync::atomic::Ordering;

    #[test]
    fn the_shares_of_the_threads_sum_to_the_total() {
        for (pending, threads) in [(1000, 4), (10, 3), (2, 5)] {
            let shares = (0..threads).map(|thread| share(pending, threads, thread));
            assert_eq!(shares.sum::<usize>(), pending as usize);
        }
    }

    /// Returns the failures of a run in which three requests were sent, two completed and one cancelled, after a change.
    fn failures(change: impl FnOnce(&Shared, &mut Counters)) -> Vec<String> {
        let before = Counters {
            submitted: 10,
            completed: 6,
            cancelled: 4,
            ..Counters::default()
        };
        let mut after = Counters {
            submitted: 13,
            completed: 8,
            cancelled: 5,
            ..before
        };
        let shared = Shared::new(&before);
        shared.submitted.store(3, Ordering::Relaxed);
        shared.completed.store(2, Ordering::Relaxed);
        shared.cancelled.store(1, Ordering::Relaxed);
        shared.claimed.store(2, Ordering::Relaxed);
        for order in [8, 7] {
            lock(&shared.orders).record(order).expect("not seen before");
        }
        change(&shared, &mut after);
        shared.check_counts(&before, &after);
        lock(&shared.failures).clone()
    }

    #[test]
    fn equal_counts_pass() {
        assert_eq!(failures(|_, _| ()), Vec::<String>::new());
    }

    #[test]
    fn different_counts_fail() {
        let lost = failures(|shared, _| shared.submitted.store(4, Ordering::Relaxed));
        assert!(lost[0].starts_with("4 requests were sent"), "{lost:?}");
        let claimed = failures(|shared, _| shared.claimed.store(3, Ordering::Relaxed));
        assert!(claimed[0].starts_with("the driver reports"), "{claimed:?}");
        let rejected = failures(|_, after| after.rejected = 1);
        assert!(rejected[0].starts_with("the counters"), "{rejected:?}");
        let pending = failures(|_, after| after.pending = 1);
        assert!(pending[0].starts_with("the counters"), "{pending:?}");
    }
}
