//! What a caller asks for, checked: an IOCTL code and its buffers as one value.

use interlock_abi::{
    CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Version, ioctl,
};
use wdm::{IrpView, NtStatus};

/// A well-formed request.
pub enum Request {
    /// [`ioctl::GET_VERSION`]
    GetVersion,
    /// [`ioctl::PEND`]; its tag is read from the IRP when it is completed
    Pend,
    /// [`ioctl::COMPLETE_OLDEST`]
    CompleteOldest {
        /// How many at the most.
        count: u32,
    },
    /// [`ioctl::COMPLETE_BY_TAG`]
    CompleteByTag {
        /// The tag to look for.
        tag: u64,
    },
    /// [`ioctl::GET_COUNTERS`]
    GetCounters,
}

impl Request {
    /// Reads a request, in the order of checks that [`interlock_abi`] tells: the code, the lengths, the
    /// values.
    pub fn parse(irp: &IrpView) -> Result<Self, NtStatus> {
        match irp.code() {
            ioctl::GET_VERSION => {
                irp.input::<()>()?;
                irp.output::<Version>()?;
                Ok(Self::GetVersion)
            }
            ioctl::PEND => {
                let pend = irp.input::<Pend>()?;
                irp.output::<Pended>()?;
                valid(pend.reserved == 0)?;
                Ok(Self::Pend)
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
            _ => Err(NtStatus::INVALID_DEVICE_REQUEST),
        }
    }
}

fn valid(holds: bool) -> Result<(), NtStatus> {
    if holds {
        Ok(())
    } else {
        Err(NtStatus::INVALID_PARAMETER)
    }
}
