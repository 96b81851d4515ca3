//! The name of a control device is a path to another driver's object.

use pinned_init::PinInit;
use wdm::{ControlDevice, Device, Error, NewDevice, PassiveLevel};

pub struct Mine;

impl ControlDevice for Mine {
    const NAME: &str = r"Harddisk0\Partition1";
}

impl Device for Mine {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

pub fn attack() { //~? E0080
    //~| no backslash
    let _ = wdm::control_entry::<Mine> as unsafe extern "C" fn(_, _) -> _;
}
