//! `control_entry` is used for a device that does not implement `ControlDevice`, so it has no name.

use pinned_init::PinInit;
use wdm::{Device, Error, Guid, NewDevice, PassiveLevel};

struct Mine;

impl Device for Mine {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

fn attack() {
    let _ = wdm::control_entry::<Mine> as unsafe extern "C" fn(_, _) -> _; //~ E0277
}
