//! The client of the driver, under every command: it opens the device, sends typed requests, waits for them, cancels them,
//! and checks how they end, on whichever kernel the run uses.

mod ioctl;
mod orders;
mod sent;

use std::fmt::Display;

use interlock_abi::{
    Call, CallResult, Completed, Counters, Pend, Pended, Routine, RunState, Statistics,
    ThreadResults, Version,
};
use zerocopy::FromBytes;

use crate::error::{Error, Result, ensure};
use crate::status::Status;
use crate::target::{Completion, DEADLINE, Request};

pub use crate::target::Device;
pub use ioctl::{Ioctl, fifo, on_queue};
pub use orders::Orders;
pub use sent::{Sent, expect_all_cancelled, expect_all_pending, expect_no_output};

impl Device {
    /// Sends a request that does not pend, and waits for it to end.
    pub fn call(&self, ioctl: &Ioctl) -> Result<Completion> {
        let request = self.submit(ioctl)?;
        request.end(format_args!("IOCTL 0x{:08X}", ioctl.code))
    }

    /// Sends a request, which must succeed with an output of type `T`.
    fn get<T: FromBytes>(&self, ioctl: &Ioctl) -> Result<T> {
        let (code, end) = (ioctl.code, self.call(ioctl)?);
        ensure(end.status == Status::SUCCESS, || {
            format!("IOCTL 0x{code:08X} ended with {}", end.status)
        })?;
        end.read()
    }

    /// Sends a request, which must succeed with an output of type `T` or end with `STATUS_NOT_FOUND`: `None`.
    fn find<T: FromBytes>(&self, ioctl: &Ioctl) -> Result<Option<T>> {
        let (code, end) = (ioctl.code, self.call(ioctl)?);
        match (end.status, end.information) {
            (Status::SUCCESS, _) => end.read().map(Some),
            (Status::NOT_FOUND, 0) => Ok(None),
            (status, information) => Err(Error::failed(format!(
                "IOCTL 0x{code:08X} ended with {status}, Information {information}"
            ))),
        }
    }

    /// Sends a `PEND` request to the queue that it names.
    pub fn send(&self, pend: Pend) -> Result<Sent> {
        let request = self.submit(&Ioctl::pend(pend))?;
        Ok(Sent { pend, request })
    }

    /// Sends `PEND` requests, each to the queue that it names.
    pub fn send_all(&self, pends: impl IntoIterator<Item = Pend>) -> Result<Vec<Sent>> {
        pends.into_iter().map(|pend| self.send(pend)).collect()
    }

    /// Sends a request with a tag to the queue *fifo*.
    pub fn pend(&self, tag: u64) -> Result<Sent> {
        self.send(fifo(tag))
    }

    /// Sends a request with each of the tags to the queue *fifo*, and checks that all are pending.
    pub fn pend_all(&self, tags: impl IntoIterator<Item = u64>) -> Result<Vec<Sent>> {
        let sent = self.send_all(tags.into_iter().map(fifo))?;
        expect_all_pending(&sent)?;
        Ok(sent)
    }

    /// Pops the record that was pushed last from the stack; `None` if the stack is empty.
    pub fn pop(&self) -> Result<Option<Pended>> {
        self.find(&Ioctl::pop())
    }

    /// Completes the `count` oldest requests; returns how many were completed.
    pub fn complete_oldest(&self, count: u32) -> Result<u32> {
        let completed: Completed = self.get(&Ioctl::complete_oldest(count))?;
        let valid = completed.reserved == 0 && completed.count <= count;
        ensure(valid, || {
            format!("COMPLETE_OLDEST of {count} requests returned {completed:?}")
        })?;
        Ok(completed.count)
    }

    /// Completes the `count` oldest requests; exactly `expected` must be completed.
    pub fn expect_complete_oldest(&self, count: u32, expected: usize) -> Result {
        let completed = self.complete_oldest(count)?;
        ensure(completed as usize == expected, || {
            format!("COMPLETE_OLDEST of {count} completed {completed} requests, not {expected}")
        })
    }

    /// Completes the oldest request with a tag; returns whether there was one.
    pub fn complete_by_tag(&self, tag: u64) -> Result<bool> {
        let found = self.find::<()>(&Ioctl::complete_by_tag(tag))?;
        Ok(found.is_some())
    }

    /// Completes the oldest request with a tag; it must be there, or must not.
    pub fn expect_complete_by_tag(&self, tag: u64, expected: bool) -> Result {
        let found = self.complete_by_tag(tag)?;
        ensure(found == expected, || {
            if expected {
                format!("the pending request with tag {tag} was not found")
            } else {
                format!("a request with tag {tag} was completed")
            }
        })
    }

    /// Reads the device's counters.
    pub fn counters(&self) -> Result<Counters> {
        self.get(&Ioctl::get_counters())
    }

    /// Reads the device's statistics.
    pub fn statistics(&self) -> Result<Statistics> {
        self.get(&Ioctl::get_statistics())
    }

    /// Sets the run state to one of the constants of [`RunState`]; returns the old one.
    pub fn set_run_state(&self, state: u32) -> Result<u32> {
        let old: RunState = self.get(&Ioctl::set_run_state(state))?;
        let valid = old.state <= RunState::STOPPED && old.reserved == 0;
        ensure(valid, || format!("the run state was {old:?}"))?;
        Ok(old.state)
    }

    /// Runs a routine once.
    pub fn call_routine(&self, routine: Routine, call: &Call) -> Result<CallResult> {
        self.get(&Ioctl::call(routine, call))
    }

    /// Runs a routine in several system threads.
    pub fn run_threads(
        &self,
        routine: Routine,
        threads: u32,
        rounds: u32,
    ) -> Result<ThreadResults> {
        self.get(&Ioctl::run_threads(routine, threads, rounds))
    }

    /// Reads the driver's version.
    pub fn version(&self) -> Result<Version> {
        self.get(&Ioctl::get_version())
    }
}

impl Request {
    /// Waits for the request to end, within the deadline; `what` is its name in the error message.
    pub fn end(&self, what: impl Display) -> Result<Completion> {
        self.wait(DEADLINE)?.ok_or_else(|| {
            let seconds = DEADLINE.as_secs();
            Error::failed(format!("{what} did not end within {seconds} s"))
        })
    }
}

impl Completion {
    /// Returns the output as a `T`; `Information` must be its size.
    pub fn read<T: FromBytes>(&self) -> Result<T> {
        let written = self.output.get(..self.information).unwrap_or_default();
        T::read_from_bytes(written).map_err(|_| {
            Error::failed(format!(
                "Information is {}, not the output's size of {} bytes",
                self.information,
                size_of::<T>()
            ))
        })
    }
}
