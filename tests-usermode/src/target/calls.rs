//! The requests of `interlock_abi`, typed, for whichever kernel this build has.

use interlock_abi::{
    Call, CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Returned, Routine,
    RunState, RunThreads, Statistics, ThreadsRan, Version, ioctl, queue,
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Completion, DEADLINE, Device, Request, blank};
use crate::error::{Error, Result};
use crate::status::Status;

impl Device {
    /// Sends a request that does not pend and waits for its end.
    pub fn call(&self, code: u32, input: &[u8], output_len: usize) -> Result<Completion> {
        let request = self.submit(code, input, blank(output_len))?;
        request.wait(DEADLINE)?.ok_or_else(|| {
            Error::failed(format!(
                "IOCTL 0x{code:08X} did not end within {} s",
                DEADLINE.as_secs()
            ))
        })
    }

    /// Pends a request with a tag on the queue *fifo*.
    pub fn pend(&self, tag: u64) -> Result<Request> {
        self.pend_on(fifo(tag))
    }

    /// Puts a request on the queue that it names.
    pub fn pend_on(&self, pend: Pend) -> Result<Request> {
        self.submit(ioctl::PEND, pend.as_bytes(), blank(size_of::<Pended>()))
    }

    /// Takes the request that was pushed last from the stack; `None` if there is none.
    pub fn pop(&self) -> Result<Option<Pended>> {
        let completion = self.call(ioctl::POP, &[], size_of::<Pended>())?;
        match (completion.status, completion.information) {
            (Status::SUCCESS, _) => completion.read().map(Some),
            (Status::NOT_FOUND, 0) => Ok(None),
            (status, information) => Err(Error::failed(format!(
                "POP ended with {status}, Information {information}"
            ))),
        }
    }

    /// Completes the `count` oldest requests; returns how many were completed.
    pub fn complete_oldest(&self, count: u32) -> Result<u32> {
        let input = CompleteOldest { count, reserved: 0 };
        let completed: Completed = self.get(ioctl::COMPLETE_OLDEST, input.as_bytes())?;
        if completed.reserved != 0 || completed.count > count {
            return Err(Error::failed(format!(
                "asked to complete {count}, the driver answers {completed:?}"
            )));
        }
        Ok(completed.count)
    }

    /// Completes the oldest request with a tag; returns whether there was one.
    pub fn complete_by_tag(&self, tag: u64) -> Result<bool> {
        let input = CompleteByTag { tag };
        let completion = self.call(ioctl::COMPLETE_BY_TAG, input.as_bytes(), 0)?;
        match (completion.status, completion.information) {
            (Status::SUCCESS, 0) => Ok(true),
            (Status::NOT_FOUND, 0) => Ok(false),
            (status, information) => Err(Error::failed(format!(
                "COMPLETE_BY_TAG {tag} ended with {status}, Information {information}"
            ))),
        }
    }

    /// Reads the device's counters.
    pub fn counters(&self) -> Result<Counters> {
        self.get(ioctl::GET_COUNTERS, &[])
    }

    /// Reads what the device has measured.
    pub fn statistics(&self) -> Result<Statistics> {
        self.get(ioctl::GET_STATISTICS, &[])
    }

    /// Sets the run state, one of those of [`RunState`]; returns the old one.
    pub fn set_run_state(&self, state: u32) -> Result<u32> {
        let input = RunState { state, reserved: 0 };
        let old: RunState = self.get(ioctl::SET_RUN_STATE, input.as_bytes())?;
        if old.state > RunState::STOPPED || old.reserved != 0 {
            return Err(Error::failed(format!("the run state was {old:?}")));
        }
        Ok(old.state)
    }

    /// Runs a routine once.
    pub fn call_routine(&self, routine: Routine, call: &Call) -> Result<Returned> {
        self.get(routine.ioctl(), call.as_bytes())
    }

    /// Runs a routine from several system threads.
    pub fn run_threads(&self, routine: Routine, threads: u32, rounds: u32) -> Result<ThreadsRan> {
        let input = RunThreads {
            routine: routine as u32,
            threads,
            rounds,
            reserved: 0,
        };
        self.get(ioctl::RUN_THREADS, input.as_bytes())
    }

    /// Reads the driver's version.
    pub fn version(&self) -> Result<Version> {
        self.get(ioctl::GET_VERSION, &[])
    }

    /// Sends a request that must succeed and give a `T`.
    fn get<T: FromBytes>(&self, code: u32, input: &[u8]) -> Result<T> {
        let completion = self.call(code, input, size_of::<T>())?;
        if completion.status != Status::SUCCESS {
            return Err(Error::failed(format!(
                "IOCTL 0x{code:08X} ended with {}",
                completion.status
            )));
        }
        completion.read()
    }
}

/// A request for the queue *fifo*.
pub const fn fifo(tag: u64) -> Pend {
    Pend {
        tag,
        queue: queue::FIFO,
        key: 0,
        service_ms: 0,
        reserved: 0,
    }
}

impl Completion {
    /// The output as a `T`, all of which the driver must have written and nothing more.
    pub fn read<T: FromBytes>(&self) -> Result<T> {
        let written = self.output.get(..self.information).unwrap_or_default();
        T::read_from_bytes(written).map_err(|_| {
            Error::failed(format!(
                "Information is {} where {} bytes of output were expected",
                self.information,
                size_of::<T>()
            ))
        })
    }
}
