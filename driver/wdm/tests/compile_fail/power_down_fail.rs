//! PowerDownFail: a request to enter a state with less power is not failed.

use pinned_init::PinInit;
use wdm::{Device, Error, NewDevice, PassiveLevel, PowerState, irql::CallerLevel};

struct Lamp;

impl Device for Lamp {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn set_power(&self, _: PowerState, _: &mut CallerLevel) -> Result<(), Error> { //~ E0053
        Err(Error::DEVICE_BUSY)
    }
}
