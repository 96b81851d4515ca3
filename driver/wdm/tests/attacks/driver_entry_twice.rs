//! A crate has two entry points.

use wdm::{DeviceObject, Error, Filter, PassiveLevel, PinInit};

struct Mine;

impl Filter for Mine {
    fn add(_: &DeviceObject, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

wdm::driver_entry!(filter: Mine);
wdm::driver_entry!(filter: Mine); //~ E0428
