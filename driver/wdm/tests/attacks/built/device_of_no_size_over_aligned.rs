//! A device has no size, so it needs no memory, but its address would have to be a multiple of 4,096.

use pinned_init::PinInit;
use wdm::{Device, Error, Guid, NewDevice, PassiveLevel};

#[repr(align(4096))]
pub struct Page;

impl Device for Page {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self)) //~? E0080
        //~| the pool aligns to 16 bytes
    }
}

pub fn attack() {
    let _ = wdm::entry::<Page> as unsafe extern "C" fn(_, _) -> _;
}
