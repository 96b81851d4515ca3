//! The requests of `interlock_abi`, typed, for whichever kernel this build has.

use interlock_abi::{
    CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Version, ioctl,
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

    /// Pends a request with a tag.
    pub fn pend(&self, tag: u64) -> Result<Request> {
        let pend = Pend { tag, reserved: 0 };
        self.submit(ioctl::PEND, pend.as_bytes(), blank(size_of::<Pended>()))
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
