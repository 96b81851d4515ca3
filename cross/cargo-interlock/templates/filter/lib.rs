//! The logic of `{{name}}.sys`: a filter that makes a device read-only.

#![no_std]
#![forbid(unsafe_code)]

use wdm::{
    Error, Filter, Handled, InterlockedLong64, Irp, MajorFunction, NewFilter, PassiveLevel,
    PinInit,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::CallerLevel,
};

/// Returns the number of writes that were refused, an `i64`.
///
/// The function code is high, so that the device's own driver is unlikely to use it.
pub const REFUSED: u32 = ctl_code(UNKNOWN_DEVICE, 0xfff, Method::Buffered, Access::Any);

/// The state of the filter for a device. It is made when the filter is added to the device, and dropped when that is removed.
pub struct Gate {
    refused: InterlockedLong64,
}

impl Filter for Gate {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self {
            refused: InterlockedLong64::new(0),
        }))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Write => {
                self.refused.increment();
                irp.complete(Error::MEDIA_WRITE_PROTECTED, irql)
            }
            MajorFunction::DeviceControl if irp.code() == REFUSED => {
                irp.complete_with(&self.refused.read(), irql)
            }
            _ => irp.forward(irql),
        }
    }
}
