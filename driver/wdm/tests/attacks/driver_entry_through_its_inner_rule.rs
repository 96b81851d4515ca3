//! The inner rule of the macro makes a filter an ordinary device.

#![forbid(unsafe_code)]

use wdm::{Error, Filter, NewFilter, PassiveLevel, PinInit};

struct Mine;

impl Filter for Mine {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

wdm::driver_entry!(@ Mine, entry); //~ E0277

fn main() {}
