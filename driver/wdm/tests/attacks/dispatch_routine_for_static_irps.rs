//! A dispatch routine takes only IRPs with the lifetime `'static`, so that the `Handled` of one call could be kept for another.

use std::sync::Mutex;

use pinned_init::PinInit;
use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, PassiveLevel};

struct Mine(Mutex<Vec<Handled<'static>>>);
impl Device for Mine {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Mutex::new(Vec::new()))))
    }

    fn device_control(&self, irp: Irp<'static>, _: &(), irql: &mut PassiveLevel) -> Handled<'static> { //~ E0308
        self.0.lock().unwrap().push(irp.complete(Error::NOT_SUPPORTED, irql));
        loop {}
    }
}
