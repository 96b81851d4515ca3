//! The common part of all scenarios: it reads the counters before and after a scenario, and checks how they changed.

use std::time::Duration;

use interlock_abi::{Counters, Pended};

use super::Context;
use crate::client::{Device, Orders, Sent};
use crate::error::{Result, ensure};

/// The longest interval between two ticks of a system's clock. A timer counts ticks, so it may expire early by this interval.
pub const TICK: Duration = Duration::from_millis(16);

/// The number of requests that ended with each kind of result.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    completed: u64,
    cancelled: u64,
    rejected: u64,
    over_quota: u64,
}

impl Tally {
    /// No `PEND` request was accepted and nothing was rejected.
    pub const NONE: Self = Self {
        completed: 0,
        cancelled: 0,
        rejected: 0,
        over_quota: 0,
    };

    /// This many requests ended with `STATUS_SUCCESS`.
    pub const fn completed(completed: u64) -> Self {
        Self {
            completed,
            ..Self::NONE
        }
    }

    /// This many requests ended with `STATUS_CANCELLED`.
    pub const fn cancelled(self, cancelled: u64) -> Self {
        Self { cancelled, ..self }
    }

    /// This many requests were rejected as malformed.
    pub const fn rejected(self, rejected: u64) -> Self {
        Self { rejected, ..self }
    }

    /// This many requests were refused because their handle had used up its quota of records.
    pub const fn over_quota(self, over_quota: u64) -> Self {
        Self { over_quota, ..self }
    }

    /// Checks that the counters have changed by exactly this, and that no request is pending.
    pub fn check(self, before: &Counters, after: &Counters) -> Result {
        let expected = Counters {
            submitted: before.submitted + self.completed + self.cancelled,
            completed: before.completed + self.completed,
            cancelled: before.cancelled + self.cancelled,
            aborted: before.aborted,
            rejected: before.rejected + self.rejected,
            over_quota: before.over_quota + self.over_quota,
            pending: 0,
        };
        ensure(*after == expected, || {
            format!("the counters do not add up:\nexpected {expected:?}\n but they are {after:?}")
        })
    }
}

/// A handle of the device, and the device's counters when the scenario began.
#[derive(Debug)]
pub struct Session {
    /// The handle.
    pub device: Device,
    /// The counters when the scenario began.
    pub before: Counters,
    context: Context,
}

impl Session {
    /// Runs a scenario, and checks the counters against what it returns.
    pub fn run(context: &Context, scenario: impl FnOnce(&Self) -> Result<Tally>) -> Result {
        let session = Self::begin(context)?;
        let tally = scenario(&session)?;
        session.check(tally)
    }

    /// Opens the device. No request may be pending: the queue is the whole device's, and the scenario would complete the
    /// requests of others.
    pub fn begin(context: &Context) -> Result<Self> {
        let device = Device::open()?;
        let before = device.counters()?;
        ensure(before.pending == 0, || {
            let Counters { pending, .. } = before;
            format!("{pending} requests are pending already: is another program using the device?")
        })?;
        Ok(Self {
            device,
            before,
            context: *context,
        })
    }

    /// Returns how often to repeat something: `usual` times, unless the run has an option for it.
    pub fn rounds(&self, usual: u64) -> u64 {
        self.context.iterations.unwrap_or(usual)
    }

    /// Returns the seed of random choices.
    pub fn seed(&self) -> u64 {
        self.context.seed
    }

    /// Checks that a request was the `nth` to be completed since the scenario began.
    pub fn expect_nth(&self, nth: u64, sent: &Sent) -> Result<Pended> {
        sent.expect_order(self.before.completed + nth)
    }

    /// Checks that the requests were completed in this order, after `done` others since the scenario began.
    pub fn expect_in_order<'a>(
        &self,
        done: u64,
        sent: impl IntoIterator<Item = &'a Sent>,
    ) -> Result {
        for (nth, sent) in (done + 1..).zip(sent) {
            self.expect_nth(nth, sent)?;
        }
        Ok(())
    }

    /// Checks that requests were completed with these numbers since the scenario began, each number once.
    pub fn expect_each_order_once(&self, orders: &[u64]) -> Result {
        let mut seen = Orders::after(self.before.completed);
        orders.iter().try_for_each(|order| seen.record(*order))?;
        seen.check(orders.len() as u64)
    }

    /// Completes all requests on *fifo*; they must be these, in this order.
    pub fn complete_all(&self, sent: &[Sent]) -> Result {
        self.device.expect_complete_oldest(u32::MAX, sent.len())?;
        self.expect_in_order(0, sent)
    }

    /// Checks that the counters have changed by exactly this since the scenario began, and that no request is pending.
    pub fn check(&self, tally: Tally) -> Result {
        tally.check(&self.before, &self.device.counters()?)
    }
}
