//! A constant in the type that a macro is given calls an unsafe function: the macro names the type in an unsafe block.

use pinned_init::PinInit;
use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, PassiveLevel};

struct Mine<const N: usize>;
impl<const N: usize> Device for Mine<N> {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, _: &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(Error::NOT_SUPPORTED, irql)
    }
}

wdm::driver_entry!(Mine<{ 1_usize.unchecked_add(1) }>); //~ E0133
