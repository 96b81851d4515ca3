//! The users who may open a control device that everyone may open.

mod common;

use common::kernel;
use ntmodel::{Access, Driver, File, User};
use pinned_init::PinInit;
use wdm::{ControlDevice, Device, DeviceAccess, Error, NewDevice, PassiveLevel};

struct Open;

impl ControlDevice for Open {
    const NAME: &str = "OpenToAll";
    const ACCESS: DeviceAccess = DeviceAccess::Everyone;
}

impl Device for Open {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

#[test]
fn everyone_reads_and_writes() {
    let kernel = kernel();
    // SAFETY: the entry point is that of a driver on wdm.
    let driver = unsafe { Driver::load(&kernel, wdm::control_entry::<Open>) }.expect("DriverEntry");
    for name in [r"\\.\OpenToAll", r"\\.\OpenToAll\below"] {
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            for user in [User::Ordinary, User::Administrator, User::System] {
                let opened = kernel.open_device(name, access, user);
                assert_eq!(opened.map(File::close), Ok(()), "{user:?}");
            }
        }
    }
    driver.unload();
}
