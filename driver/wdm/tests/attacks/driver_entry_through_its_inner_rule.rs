//! The inner rule of the macro makes a filter an ordinary device.

use wdm::{DeviceObject, Error, Filter, PassiveLevel, PinInit};

struct Mine;

impl Filter for Mine {
    fn add(_: &DeviceObject, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

wdm::driver_entry!(@ Mine, entry); //~ E0277
