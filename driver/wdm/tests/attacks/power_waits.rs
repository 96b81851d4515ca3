//! A device waits while it is powered up, although the lower drivers may call it at `DISPATCH_LEVEL`.

use pinned_init::PinInit;
use wdm::{Device, Error, Event, NewDevice, PassiveLevel, PowerState, irql::CallerLevel};

struct Lamp {
    ready: wdm::Shared<Event>,
}

impl Device for Lamp {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Err::<Result<Self, Error>, _>(Error::CANCELLED)
    }

    fn set_power(&self, _: PowerState, irql: &mut CallerLevel) {
        self.ready.wait(irql); //~ E0277
    }
}
