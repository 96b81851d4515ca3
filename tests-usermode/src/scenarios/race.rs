//! Cancellation against completion.

use std::hint;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use interlock_abi::Routine;

use super::cancel::join;
use super::session::{Session, Tally, end_of, expect_cancelled, expect_success};
use super::{Context, Halt, Scenario, Verdict, ensure, scenario};
use crate::status::Status;
use crate::target::{DEADLINE, Device};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[scenario(
    "race::cancel_against_completion",
    "two threads cancel and complete the same request, 100,000 times: exactly one of them wins",
    &[Routine::IoSetCancelRoutine],
    cancel_against_completion,
)];

/// Each round pends one request; this thread cancels it while another completes it through a handle of
/// its own, by tag or, every fourth time, as the oldest. Exactly one of them must win, and both must
/// agree on who it was. Whoever wins starts a little later the next time, so the two meet where it hurts.
fn cancel_against_completion(context: &Context) -> Verdict {
    let session = Session::begin()?;
    let other = Device::open()?;
    let rounds = context.rounds(100_000);
    let baton = Baton::default();
    let (raced, completer) = thread::scope(|scope| {
        let completer = scope.spawn(|| complete_rounds(&baton, &other));
        let raced = cancel_rounds(&session, &baton, rounds);
        baton.stop();
        (raced, join(completer))
    });
    // The completer's own failure says more than that it did not answer.
    completer?;
    let tally = raced?;
    session.settle(tally)?;
    if tally.completed == 0 || tally.cancelled == 0 {
        return Err(Halt::Ignored(format!(
            "in {rounds} rounds {} completions and {} cancellations won: nothing was raced",
            tally.completed, tally.cancelled
        )));
    }
    Ok(())
}

/// The canceller's half, which also pends the requests and judges what became of them. It may pend
/// the next one while the completer's answer is still under way.
fn cancel_rounds(session: &Session, baton: &Baton, rounds: u64) -> Verdict<Tally> {
    let mut tally = Tally::default();
    let mut lead = Lead::default();
    let mut last: Option<Ended> = None;
    for round in 1..=rounds {
        let request = session.device.pend(round)?;
        if let Some(last) = last.take() {
            last.check(baton)?;
        }
        baton.start(round, lead.of_canceller());
        pause(lead.of_completer());
        let found = request.cancel()?;
        let completed = end_of(round, &request)?.status == Status::SUCCESS;
        if completed {
            tally.completed += 1;
            let order = expect_success(round, &request)?;
            let expected = session.before.completed + tally.completed;
            ensure(order == expected, || {
                format!("round {round} was completed as number {order}, not {expected}")
            })?;
        } else {
            tally.cancelled += 1;
            expect_cancelled(round, &request)?;
        }
        lead.favour_the_loser(completed);
        let ended = Ended {
            round,
            found,
            completed,
        };
        if by_tag(round) {
            last = Some(ended);
        } else {
            // The oldest would be the next request, were it there already.
            ended.check(baton)?;
        }
    }
    last.map_or(Ok(()), |last| last.check(baton))?;
    Ok(tally)
}

/// Whether the completer completes a round's request by its tag, or else as the oldest.
const fn by_tag(round: u64) -> bool {
    !round.is_multiple_of(4)
}

/// How a round ended, as its request tells.
#[derive(Debug)]
struct Ended {
    round: u64,
    /// Whether `CancelIoEx` found the request.
    found: bool,
    /// Whether it ended with success.
    completed: bool,
}

impl Ended {
    /// Checks that exactly one has ended the request, and that both know who it was.
    fn check(&self, baton: &Baton) -> Verdict {
        let completed = baton.answer(self.round)?;
        let agreed = completed == self.completed && (self.completed || self.found);
        ensure(agreed, || {
            format!(
                "{self:?}, but the completer says that it completed {} request",
                if completed { "the" } else { "no" }
            )
        })
    }
}

/// The completer's half.
fn complete_rounds(baton: &Baton, device: &Device) -> Verdict {
    let mut round = 0;
    while let Some(lead) = baton.next(round)? {
        round += 1;
        pause(lead);
        let completed = if by_tag(round) {
            device.complete_by_tag(round)?
        } else {
            device.complete_oldest(1)? == 1
        };
        baton.done(round, completed);
    }
    Ok(())
}

/// How far the canceller is sent ahead of the completer, in nanoseconds; below zero it is behind.
#[derive(Debug, Default)]
struct Lead(i64);

impl Lead {
    const STEP: i64 = 500;
    /// Beyond this it is no race any more, but a machine that is busy with something else.
    const MOST: i64 = 200_000;

    /// How long the completer waits.
    fn of_canceller(&self) -> i64 {
        self.0.max(0)
    }

    /// How long the canceller waits.
    fn of_completer(&self) -> i64 {
        (-self.0).max(0)
    }

    fn favour_the_loser(&mut self, completed: bool) {
        let step = if completed { Self::STEP } else { -Self::STEP };
        self.0 = (self.0 + step).clamp(-Self::MOST, Self::MOST);
    }
}

/// What the two threads pass to and fro: no more than the numbers of rounds, so that they start
/// together.
#[derive(Debug, Default)]
struct Baton {
    /// The round that may be raced.
    round: AtomicU64,
    /// How long the completer is to wait in it.
    lead: AtomicI64,
    /// Twice the round that the completer has done, plus one if it has completed the request.
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

    /// Waits for the round after `last`; `None` if there is none.
    fn next(&self, last: u64) -> Verdict<Option<i64>> {
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

    /// Waits until the completer has done a round; returns whether it completed the request.
    fn answer(&self, round: u64) -> Verdict<bool> {
        let mut answer = 0;
        spin_until("the completer", || {
            answer = self.answer.load(Ordering::Acquire);
            answer / 2 == round
        })?;
        Ok(answer % 2 == 1)
    }
}

/// Waits without a kernel object, whose wake-up would take longer than the race.
fn spin_until(what: &str, mut done: impl FnMut() -> bool) -> Verdict {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > DEADLINE * 2 {
            return Err(Halt::Failed(format!("waited in vain for {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}

/// Waits for some nanoseconds without giving up the processor.
fn pause(nanoseconds: i64) {
    let wait = Duration::from_nanos(nanoseconds.unsigned_abs());
    let start = Instant::now();
    while start.elapsed() < wait {
        hint::spin_loop();
    }
}
