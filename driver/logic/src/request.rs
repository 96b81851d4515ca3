//! Parsing of requests: the IOCTL code and the input as one checked value.

use interlock_abi::{
    Call, CallResult, CompleteByTag, CompleteOldest, Completed, Counters, MAX_SERVICE_MS, Pend,
    Pended, Routine, RunState, RunThreads, Statistics, ThreadResults, Version, ioctl, queue,
};
use wdm::{Error, IrpView};

use crate::routine;

/// A valid request.
#[derive(Clone, Copy)]
pub enum Request {
    /// [`ioctl::GET_VERSION`]
    GetVersion,
    /// [`ioctl::PEND`]
    Pend(Pend),
    /// [`ioctl::COMPLETE_OLDEST`]
    CompleteOldest {
        /// The largest number of requests to complete.
        count: u32,
    },
    /// [`ioctl::COMPLETE_BY_TAG`]
    CompleteByTag {
        /// The tag of the request.
        tag: u64,
    },
    /// [`ioctl::GET_COUNTERS`]
    GetCounters,
    /// [`ioctl::GET_STATISTICS`]
    GetStatistics,
    /// [`ioctl::POP`]
    Pop,
    /// [`ioctl::SET_RUN_STATE`]
    SetRunState(RunState),
    /// [`ioctl::RUN_THREADS`]
    RunThreads(RunThreads),
    /// [`Routine::ioctl`]
    Call(Routine, Call),
}

impl Request {
    /// Parses a request. The checks are in the order that [`interlock_abi`] documents: the code, the lengths, the
    /// values.
    pub fn parse(irp: &IrpView) -> Result<Self, Error> {
        match irp.code() {
            ioctl::GET_VERSION => {
                irp.input::<()>()?;
                irp.output::<Version>()?;
                Ok(Self::GetVersion)
            }
            ioctl::PEND => {
                let pend = irp.input_ref::<Pend>()?;
                irp.output::<Pended>()?;
                valid(is_valid(pend))?;
                Ok(Self::Pend(*pend))
            }
            ioctl::COMPLETE_OLDEST => {
                let CompleteOldest { count, reserved } = irp.input()?;
                irp.output::<Completed>()?;
                valid(count != 0 && reserved == 0)?;
                Ok(Self::CompleteOldest { count })
            }
            ioctl::COMPLETE_BY_TAG => {
                let CompleteByTag { tag } = irp.input()?;
                Ok(Self::CompleteByTag { tag })
            }
            ioctl::GET_COUNTERS => {
                irp.input::<()>()?;
                irp.output::<Counters>()?;
                Ok(Self::GetCounters)
            }
            ioctl::GET_STATISTICS => {
                irp.input::<()>()?;
                irp.output::<Statistics>()?;
                Ok(Self::GetStatistics)
            }
            ioctl::POP => {
                irp.input::<()>()?;
                irp.output::<Pended>()?;
                Ok(Self::Pop)
            }
            ioctl::SET_RUN_STATE => {
                let state = irp.input::<RunState>()?;
                irp.output::<RunState>()?;
                valid(state.state <= RunState::STOPPED && state.reserved == 0)?;
                Ok(Self::SetRunState(state))
            }
            ioctl::RUN_THREADS => {
                let run = irp.input::<RunThreads>()?;
                irp.output::<ThreadResults>()?;
                routine::check_threads(&run)?;
                Ok(Self::RunThreads(run))
            }
            code => {
                let routine = Routine::from_ioctl(code).ok_or(Error::INVALID_DEVICE_REQUEST)?;
                let call = irp.input_ref::<Call>()?;
                irp.output::<CallResult>()?;
                routine::check(routine, call)?;
                Ok(Self::Call(routine, *call))
            }
        }
    }
}

/// Returns whether the queue allows the value of each field, by the table in [`interlock_abi::queue`].
const fn is_valid(pend: &Pend) -> bool {
    let (key, service_ms) = match pend.queue {
        queue::FIFO | queue::STACK => (0, 0),
        queue::KEYED => (u32::MAX, MAX_SERVICE_MS),
        queue::SERIAL => (0, MAX_SERVICE_MS),
        queue::INTERLOCKED => (1, 0),
        _ => return false,
    };
    pend.key <= key && pend.service_ms <= service_ms && pend.reserved == 0
}

fn valid(holds: bool) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::INVALID_PARAMETER)
    }
}
