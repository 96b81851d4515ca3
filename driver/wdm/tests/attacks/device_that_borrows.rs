//! A device's state borrows from what `add` was called with.

#![forbid(unsafe_code)]

use pinned_init::PinInit;
use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel};

struct Mine<'a>(&'a NewDevice);

impl<'a> Device for Mine<'a> { //~ E0478
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Err::<Result<Self, Error>, _>(Error::CANCELLED)
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn main() {}
