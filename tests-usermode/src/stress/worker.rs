//! One thread of a stress run.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use interlock_abi::{Pend, queue};

use super::{Shared, lock};
use crate::scenarios::{Halt, Verdict, ensure, expect_cancelled, expect_pended};
use crate::status::Status;
use crate::target::{DEADLINE, Device, Request, fifo};

/// A request that was sent and not yet seen to end.
#[derive(Debug)]
struct Sent {
    pend: Pend,
    request: Request,
    /// Whether it may end as cancelled.
    cancelled: bool,
    /// When it was made to end, or seen to be ending.
    ending: Option<Instant>,
}

/// A thread's own handle, and the requests that it keeps pending.
#[derive(Debug)]
pub struct Worker<'a> {
    shared: &'a Shared,
    device: Device,
    sent: Vec<Sent>,
    quota: usize,
    next_tag: u64,
    rng: Rng,
}

impl<'a> Worker<'a> {
    /// A worker that keeps `quota` requests pending, with tags that no other thread uses.
    pub fn new(shared: &'a Shared, thread: u16, quota: usize, rng: Rng) -> Verdict<Self> {
        Ok(Self {
            shared,
            device: Device::open()?,
            sent: Vec::with_capacity(quota),
            quota,
            next_tag: u64::from(thread) << 48,
            rng,
        })
    }

    /// Works until it is stopped, then cancels what it still has.
    pub fn work(mut self) -> Verdict {
        while !self.shared.stopped() {
            self.fill()?;
            self.act()?;
            self.reap()?;
        }
        self.cancel_all()?;
        while let Some(sent) = self.sent.pop() {
            self.judge(&sent)?;
        }
        Ok(())
    }

    /// Sends requests until as many pend as should.
    fn fill(&mut self) -> Verdict {
        while self.sent.len() < self.quota {
            let pend = self.draw();
            let request = self.device.pend_on(pend)?;
            self.shared.submitted.fetch_add(1, Ordering::Relaxed);
            self.sent.push(Sent {
                pend,
                request,
                cancelled: false,
                ending: None,
            });
        }
        Ok(())
    }

    /// A request for *fifo*, more often than not, or for a queue that ends it without being asked to.
    fn draw(&mut self) -> Pend {
        let fifo = fifo(self.next_tag);
        self.next_tag += 1;
        let (queue, keys) = match self.rng.u8(..8) {
            0 => (queue::KEYED, u32::MAX),
            1 => (queue::SERIAL, 0),
            2 => (queue::INTERLOCKED, 1),
            _ => return fifo,
        };
        // A service time makes all those behind wait, so few have one.
        let served = queue != queue::INTERLOCKED && self.rng.u8(..64) == 0;
        Pend {
            queue,
            key: self.rng.u32(..=keys),
            service_ms: served.into(),
            ..fifo
        }
    }

    /// Ends some request, in some way.
    fn act(&mut self) -> Verdict {
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

    /// Counts requests that the driver says it completed.
    fn claim(&self, completed: u64) {
        self.shared.claimed.fetch_add(completed, Ordering::Relaxed);
    }

    /// Any of the requests; none where a thread has none to keep.
    fn any(&mut self) -> Option<usize> {
        let len = self.sent.len();
        (len > 0).then(|| self.rng.usize(..len))
    }

    fn complete_own_by_tag(&mut self) -> Verdict {
        let Some(index) = self.any() else {
            return Ok(());
        };
        let found = self.device.complete_by_tag(self.sent[index].pend.tag)?;
        self.claim(u64::from(found));
        // If it was not found it is no longer on *fifo*, or was never; so it is ending as well.
        self.sent[index].ending.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn cancel_one(&mut self) -> Verdict {
        let Some(index) = self.any() else {
            return Ok(());
        };
        let sent = &mut self.sent[index];
        let found = sent.request.cancel()?;
        // What is not found was completed, so from here on too it may not end as cancelled.
        sent.cancelled |= found;
        sent.ending.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn cancel_all(&mut self) -> Verdict {
        self.device.cancel_all()?;
        self.all_may_be_cancelled();
        Ok(())
    }

    /// Closes the handle under its requests and opens another.
    fn close_handle(&mut self) -> Verdict {
        self.device = Device::open()?;
        self.all_may_be_cancelled();
        Ok(())
    }

    fn all_may_be_cancelled(&mut self) {
        let now = Instant::now();
        for sent in &mut self.sent {
            sent.cancelled = true;
            sent.ending.get_or_insert(now);
        }
    }

    /// Takes out what has ended, and looks for what should have ended long ago.
    fn reap(&mut self) -> Verdict {
        let mut index = 0;
        while let Some(sent) = self.sent.get(index) {
            if sent.request.is_done() {
                let sent = self.sent.swap_remove(index);
                self.judge(&sent)?;
                continue;
            }
            if sent.ending.is_some_and(|since| since.elapsed() > DEADLINE) {
                return Err(lost(sent));
            }
            index += 1;
        }
        Ok(())
    }

    /// Checks how a request ended, within the deadline, and counts it.
    fn judge(&self, sent: &Sent) -> Verdict {
        let end = sent.request.wait(DEADLINE)?.ok_or_else(|| lost(sent))?;
        if end.status == Status::CANCELLED {
            expect_cancelled(sent.pend.tag, &sent.request)?;
            self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
            return ensure(sent.cancelled, || {
                format!("request {} was cancelled by nobody", sent.pend.tag)
            });
        }
        let order = expect_pended(sent.pend, &sent.request)?.order;
        if sent.pend.queue != queue::FIFO {
            // It ended without being asked to, so no completing request has counted it.
            self.claim(1);
        }
        self.shared.completed.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.orders)
            .record(order)
            .map_err(Halt::Failed)
    }
}

fn lost(sent: &Sent) -> Halt {
    let since = sent.ending.map_or(Duration::ZERO, |since| since.elapsed());
    Halt::Failed(format!(
        "request {} was lost: made to end {} s ago, it still pends",
        sent.pend.tag,
        since.as_secs()
    ))
}
