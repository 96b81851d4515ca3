//! Cancellation against completion.

use std::hint;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Scenario, Session, Tally, on_threads};
use crate::client::Device;
use crate::error::{Error, Result, ensure};
use crate::target::DEADLINE;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "race":
    cancel_against_completion, [IoSetCancelRoutine],
        "two threads cancel and complete the same request, 100,000 times: exactly one of them wins";
};

/// In each round, one thread sends a request and cancels it while another completes it through its own handle, by tag or,
/// every fourth time, as the oldest. Exactly one of them must win, and both must agree on which. The winner starts a little
/// later in the next round, so that the two calls overlap as closely as possible.
fn cancel_against_completion(session: &Session) -> Result<Tally> {
    let other = Device::open()?;
    let rounds = session.rounds(100_000);
    let baton = Baton::default();
    // The completer's result comes first, since its error explains why the canceller's wait timed out.
    let counts = on_threads(2, |thread| {
        if thread == 0 {
            return complete_rounds(&baton, &other);
        }
        let completed = cancel_rounds(session, &baton, rounds);
        baton.stop();
        completed
    })?;
    let (completed, cancelled) = (counts[1], rounds - counts[1]);
    let tally = Tally::completed(completed).cancelled(cancelled);
    session.check(tally)?;
    if completed == 0 || cancelled == 0 {
        return Err(Error::unsupported(format!(
            "in {rounds} rounds {completed} completions and {cancelled} cancellations won: the two calls never overlapped"
        )));
    }
    Ok(tally)
}

/// Runs the canceller, which also sends the requests and checks how they end; returns how many were completed. It may send the next
/// request before the completer has answered.
fn cancel_rounds(session: &Session, baton: &Baton, rounds: u64) -> Result<u64> {
    let mut count = 0;
    let mut lead = Lead::default();
    let mut last: Option<Ended> = None;
    for round in 1..=rounds {
        let sent = session.device.pend(round)?;
        if let Some(last) = last.take() {
            last.check(baton)?;
        }
        baton.start(round, lead.of_canceller());
        pause(lead.of_completer());
        let found = sent.cancel()?;
        let completed = sent.expect_completed_or_cancelled()?.is_some();
        if completed {
            count += 1;
            session.expect_nth(count, &sent)?;
        }
        lead.delay_the_winner(completed);
        let ended = Ended {
            round,
            found,
            completed,
        };
        if by_tag(round) {
            last = Some(ended);
        } else {
            // If the next request were sent already, it could be the oldest.
            ended.check(baton)?;
        }
    }
    last.map_or(Ok(()), |last| last.check(baton))?;
    Ok(count)
}

/// Returns whether the completer completes a round's request by its tag, or else as the oldest.
const fn by_tag(round: u64) -> bool {
    !round.is_multiple_of(4)
}

/// How a round ended, according to its request.
#[derive(Debug)]
struct Ended {
    round: u64,
    /// Whether `CancelIoEx` found the request.
    found: bool,
    /// Whether it ended with success.
    completed: bool,
}

impl Ended {
    /// Checks that exactly one thread ended the request, and that both agree on which.
    fn check(&self, baton: &Baton) -> Result {
        let completed = baton.answer(self.round)?;
        let agreed = completed == self.completed && (self.completed || self.found);
        ensure(agreed, || {
            let count = if completed { "the" } else { "no" };
            format!("{self:?}, but the completer reports that it completed {count} request")
        })
    }
}

/// Runs the completer; returns how many requests it completed.
fn complete_rounds(baton: &Baton, device: &Device) -> Result<u64> {
    let (mut round, mut count) = (0, 0);
    while let Some(lead) = baton.next(round)? {
        round += 1;
        pause(lead);
        let completed = if by_tag(round) {
            device.complete_by_tag(round)?
        } else {
            device.complete_oldest(1)? == 1
        };
        count += u64::from(completed);
        baton.done(round, completed);
    }
    Ok(count)
}

/// How much earlier the canceller starts than the completer, in nanoseconds; negative if it starts later.
#[derive(Debug, Default)]
struct Lead(i64);

impl Lead {
    const STEP: i64 = 500;
    /// A longer lead means that the machine is busy with something else.
    const MAX: i64 = 200_000;

    /// Returns how long the completer waits.
    fn of_canceller(&self) -> i64 {
        self.0.max(0)
    }

    /// Returns how long the canceller waits.
    fn of_completer(&self) -> i64 {
        (-self.0).max(0)
    }

    fn delay_the_winner(&mut self, completed: bool) {
        let step = if completed { Self::STEP } else { -Self::STEP };
        self.0 = (self.0 + step).clamp(-Self::MAX, Self::MAX);
    }
}

/// The numbers that the two threads exchange so that they start each round at the same time.
#[derive(Debug, Default)]
struct Baton {
    /// The round that has started.
    round: AtomicU64,
    /// How long the completer waits in it.
    lead: AtomicI64,
    /// Twice the number of the round that the completer has finished, plus one if it completed the request.
    answer: AtomicU64,
}

impl Baton {
    const STOP: u64 = u64::MAX;

    fn start(&self, round: u64, lead: i64) {
        self.lead.store(lead, Ordering::Relaxed);
        self.round.store(round, Ordering::Release);
    }

    fn stop(&self) {
        self.round.store(Self::STOP, Ordering::Release);
    }

    /// Waits for the round after `last`; `None` after the last round.
    fn next(&self, last: u64) -> Result<Option<i64>> {
        let mut round = last;
        spin_until("the canceller's next round", || {
            round = self.round.load(Ordering::Acquire);
            round != last
        })?;
        let lead = self.lead.load(Ordering::Relaxed);
        Ok((round != Self::STOP).then_some(lead))
    }

    fn done(&self, round: u64, completed: bool) {
        let answer = round * 2 + u64::from(completed);
        self.answer.store(answer, Ordering::Release);
    }

    /// Waits until the completer has finished a round; returns whether it completed the request.
    fn answer(&self, round: u64) -> Result<bool> {
        let mut answer = 0;
        spin_until("the completer", || {
            answer = self.answer.load(Ordering::Acquire);
            answer / 2 == round
        })?;
        Ok(answer % 2 == 1)
    }
}

/// Waits without a kernel object: waking up from one would take longer than the race.
fn spin_until(what: &str, mut done: impl FnMut() -> bool) -> Result {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > DEADLINE * 2 {
            return Err(Error::failed(format!("the wait for {what} timed out")));
        }
        thread::yield_now();
    }
    Ok(())
}

/// Waits for this number of nanoseconds without yielding the processor.
fn pause(nanoseconds: i64) {
    let wait = Duration::from_nanos(nanoseconds.unsigned_abs());
    let start = Instant::now();
    while start.elapsed() < wait {
        hint::spin_loop();
    }
}
