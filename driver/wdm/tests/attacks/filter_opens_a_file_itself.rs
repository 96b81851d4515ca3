//! A filter completes an open with success, so that the lower driver closes a file that it has not opened.

use wdm::{Error, FileIrp, Filter, Handled, NewFilter, NtStatus, PassiveLevel, PinInit};

struct Opens;

impl Filter for Opens {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql) //~ E0599
    }
}
