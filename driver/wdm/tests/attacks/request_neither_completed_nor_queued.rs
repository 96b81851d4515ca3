//! A dispatch routine returns nothing for its IRP.

use pinned_init::PinInit;
use wdm::{Device, Error, FileState, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel};

struct Mine(u32);

impl Device for Mine {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(1)))
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> { //~ E0308
        drop((irp, irql));
    }
}
