//! A crate has two entry points.

#![forbid(unsafe_code)]

use wdm::{Error, Filter, NewFilter, PassiveLevel, PinInit};

struct Mine;

impl Filter for Mine {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

wdm::driver_entry!(filter: Mine);
wdm::driver_entry!(filter: Mine); //~ E0428

fn main() {}
