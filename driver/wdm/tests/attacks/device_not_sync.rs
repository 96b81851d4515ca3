//! A device has a state that is not `Sync`, which many threads would use.

use core::cell::Cell;
use pinned_init::PinInit;
use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel};

struct Mine(Cell<u32>);

impl Device for Mine { //~ E0277
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }
}
