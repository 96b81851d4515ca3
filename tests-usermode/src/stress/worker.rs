//! One thread of a stress run.

use std::sync::atomic::Ordering;
use std::time::Instant;

use fastrand::Rng;
use interlock_abi::{Pend, queue};

use super::{Shared, lock};
use crate::client::{Device, Sent, fifo};
use crate::error::{Error, Result, ensure};
use crate::target::DEADLINE;

/// A request whose end has not been checked yet.
#[derive(Debug)]
struct Kept {
    sent: Sent,
    /// Whether it may end as cancelled.
    may_be_cancelled: bool,
    /// The time at which it was completed or cancelled.
    ending: Option<Instant>,
}

/// A thread's own handle, and the requests that it keeps pending.
#[derive(Debug)]
pub struct Worker<'a> {
    shared: &'a Shared,
    device: Device,
    kept: Vec<Kept>,
    quota: usize,
    next_tag: u64,
    rng: Rng,
}

impl<'a> Worker<'a> {
    /// Returns a worker that keeps `quota` requests pending, with tags that no other thread uses.
    pub fn new(shared: &'a Shared, thread: u16, quota: usize, rng: Rng) -> Result<Self> {
        Ok(Self {
            shared,
            device: Device::open()?,
            kept: Vec::with_capacity(quota),
            quota,
            next_tag: u64::from(thread) << 48,
            rng,
        })
    }

    /// Runs until it is stopped, then cancels the remaining requests.
    pub fn work(mut self) -> Result {
        while !self.shared.stopped() {
            self.fill()?;
            self.act()?;
            self.reap()?;
        }
        self.cancel_all()?;
        self.kept.iter().try_for_each(|kept| self.check(kept))
    }

    /// Sends requests until the quota is reached.
    fn fill(&mut self) -> Result {
        while self.kept.len() < self.quota {
            let pend = self.draw();
            let sent = self.device.send(pend)?;
            self.shared.submitted.fetch_add(1, Ordering::Relaxed);
            self.kept.push(Kept {
                sent,
                may_be_cancelled: false,
                ending: None,
            });
        }
        Ok(())
    }

    /// Draws a request, mostly for *fifo*, otherwise for a queue that completes it by itself.
    fn draw(&mut self) -> Pend {
        let fifo = fifo(self.next_tag);
        self.next_tag += 1;
        let (queue, keys) = match self.rng.u8(..8) {
            0 => (queue::KEYED, u32::MAX),
            1 => (queue::SERIAL, 0),
            2 => (queue::INTERLOCKED, 1),
            _ => return fifo,
        };
        // A service time delays all requests behind it, so few have one.
        let served = queue != queue::INTERLOCKED && self.rng.u8(..64) == 0;
        Pend {
            queue,
            key: self.rng.u32(..=keys),
            service_ms: served.into(),
            ..fifo
        }
    }

    /// Ends some requests in some way.
    fn act(&mut self) -> Result {
        match self.rng.u8(..100) {
            0..40 => {
                let completed = self.device.complete_oldest(self.rng.u32(1..=16))?;
                self.claim(u64::from(completed));
            }
            40..70 => self.complete_own_by_tag()?,
            70..94 => self.cancel_one()?,
            94..98 => self.cancel_all()?,
            _ => self.close_handle()?,
        }
        Ok(())
    }

    /// Counts requests that the driver reports as completed.
    fn claim(&self, completed: u64) {
        self.shared.claimed.fetch_add(completed, Ordering::Relaxed);
    }

    /// Chooses a request; `None` if the quota is 0.
    fn choose(&mut self) -> Option<&mut Kept> {
        self.rng.choice(&mut self.kept)
    }

    fn complete_own_by_tag(&mut self) -> Result {
        let Some(kept) = self.choose() else {
            return Ok(());
        };
        // If it is not found, it is no longer on *fifo*, or is on another queue, so it ends as well.
        kept.ending.get_or_insert_with(Instant::now);
        let tag = kept.sent.pend.tag;
        let found = self.device.complete_by_tag(tag)?;
        self.claim(u64::from(found));
        Ok(())
    }

    fn cancel_one(&mut self) -> Result {
        let Some(kept) = self.choose() else {
            return Ok(());
        };
        // If it is not found, it was completed.
        kept.may_be_cancelled |= kept.sent.cancel()?;
        kept.ending.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn cancel_all(&mut self) -> Result {
        self.device.cancel_all()?;
        self.all_may_be_cancelled();
        Ok(())
    }

    /// Closes the handle while its requests are pending, and opens another.
    fn close_handle(&mut self) -> Result {
        self.device = Device::open()?;
        self.all_may_be_cancelled();
        Ok(())
    }

    fn all_may_be_cancelled(&mut self) {
        let now = Instant::now();
        for kept in &mut self.kept {
            kept.may_be_cancelled = true;
            kept.ending.get_or_insert(now);
        }
    }

    /// Checks and removes the requests that have ended; fails if one should have ended long ago.
    fn reap(&mut self) -> Result {
        let mut index = 0;
        while let Some(kept) = self.kept.get(index) {
            if kept.sent.is_done() {
                let kept = self.kept.swap_remove(index);
                self.check(&kept)?;
                continue;
            }
            if let Some(since) = kept.ending.filter(|since| since.elapsed() > DEADLINE) {
                return Err(Error::failed(format!(
                    "request {} was lost: it was completed or cancelled {} s ago, and is still pending",
                    kept.sent.pend.tag,
                    since.elapsed().as_secs()
                )));
            }
            index += 1;
        }
        Ok(())
    }

    /// Checks how a request ended, within the deadline, and counts it.
    fn check(&self, kept: &Kept) -> Result {
        let Pend { tag, queue, .. } = kept.sent.pend;
        let Some(pended) = kept.sent.expect_completed_or_cancelled()? else {
            self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
            return ensure(kept.may_be_cancelled, || {
                format!("request {tag} ended as cancelled, but was not cancelled")
            });
        };
        if queue != queue::FIFO {
            // Its queue completed it, so no other request has counted it.
            self.claim(1);
        }
        self.shared.completed.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.orders).record(pended.order)
    }
}
