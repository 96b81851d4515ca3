//! Two function drivers in one device stack: the upper one opens the files, and forwards requests that the lower one must not take for
//! requests on its own files.

mod common;

use std::marker::PhantomData;

use common::{Stack, kernel, load};
use pinned_init::PinInit;
use wdm::{Device, Error, FileState, Guid, Handled, Irp, NewDevice, PassiveLevel};

const FORWARD: u32 = 0x22_2000;
const FORWARD_AND_WAIT: u32 = 0x22_2004;

/// The state of a file, which is another type in each driver.
struct Opened<D>([u64; 2], PhantomData<fn(D)>);

struct Upper;

struct Lower;

impl FileState<Upper> for Opened<Upper> {
    fn open(_: &Upper, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self([1, 1], PhantomData)))
    }
}

impl FileState<Lower> for Opened<Lower> {
    fn open(_: &Lower, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self([2, 2], PhantomData)))
    }
}

impl Device for Upper {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = Opened<Self>;

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        file: &Opened<Self>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        assert_eq!(file.0, [1, 1]);
        match irp.code() {
            FORWARD => irp.forward(irql),
            _ => irp.forward_and_wait(irql).complete(irql),
        }
    }
}

impl Device for Lower {
    const INTERFACE: Guid = Guid::NONE;

    type File = Opened<Self>;

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        file: &Opened<Self>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        // A file that this driver has not opened would be read as another type.
        assert_eq!(file.0, [2, 2]);
        irp.complete(Error::DEVICE_BUSY, irql)
    }
}

#[test]
fn lower_driver_does_not_take_a_forwarded_file_for_its_own() {
    let kernel = kernel();
    let stack = Stack::new(load::<Lower>(&kernel)).function(load::<Upper>(&kernel));
    let stack = stack.started();
    let file = stack.open();
    for code in [FORWARD, FORWARD_AND_WAIT] {
        let request = file.device_control(code, &[], Vec::new());
        assert_eq!(request.answer(), nt::STATUS_INVALID_DEVICE_REQUEST);
    }
    file.close();
    stack.unload();
}
