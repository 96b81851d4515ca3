//! A filter forwards a close again after it has returned, so that the file is freed twice.

use wdm::{Error, FileIrp, Filter, Handled, NewFilter, PassiveLevel, PinInit};

struct Twice;

impl Filter for Twice {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.forward_and_wait(irql).forward(irql) //~ E0599
    }
}
