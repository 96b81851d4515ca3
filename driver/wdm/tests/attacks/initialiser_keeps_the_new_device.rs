//! The initialiser of a device's state, which runs after `add` has returned, puts the device that is being added into the state.

use std::sync::Mutex;

use pinned_init::PinInit;
use wdm::{Device, Error, NewDevice, PassiveLevel};

struct Mine(Mutex<Option<&'static mut NewDevice>>);

impl Device for Mine { //~ E0277
    type File = ();

    fn add(device: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Mutex::new(Some(device))))) //~ E0521
    }
}
