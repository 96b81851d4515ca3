//! PowerUpFail: a driver does not get a power request, so it cannot complete one with an error.

use pinned_init::PinInit;
use wdm::{Device, Error, Handled, Irp, NewDevice, PassiveLevel, irql::CallerLevel};

struct Lamp;

impl Device for Lamp {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn power<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> { //~ E0407
        irp.complete(Error::DEVICE_BUSY, irql)
    }
}
