//! A device uses the file state of another device.

use pinned_init::PinInit;
use wdm::{Device, Error, FileState, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel};

struct Mine(u32);

impl Device for Mine {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = u64; //~ E0277
    //~| is not a file state of the device

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(1)))
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, _: &u64, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }
}
fn used(_: &dyn Fn(&u32)) where (): FileState<u32> {}
