//! The registry keys of a driver and of its devices.

mod common;

use std::sync::Arc;

use common::{Stack, load, load_filter};
use ntmodel::{Clock, Config, Driver, Kernel};
use wdm::{
    ControlDevice, Device, Error, Filter, Guid, NewDevice, NewFilter, PassiveLevel, PinInit,
    RegistryKey,
};

/// A driver whose `DriverEntry` and AddDevice check the values that they read.
struct Reader;

struct Control;

struct UpperDriver;

const NOT_FOUND: Error = Error::OBJECT_NAME_NOT_FOUND;

impl Device for Reader {
    const INTERFACE: Guid = Guid::NONE;

    type File = ();

    fn driver_entry(key: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), Error> {
        assert_eq!(key.dword("Parameters", "Depth", irql), Ok(3));
        assert_eq!(key.dword("parameters", "DEPTH", irql), Ok(3));
        assert_eq!(key.dword("Parameters", "Size", irql), Err(NOT_FOUND));
        assert_eq!(key.dword("Other", "Depth", irql), Err(NOT_FOUND));
        assert_eq!(key.dword("", "Depth", irql), Err(NOT_FOUND));
        Ok(())
    }

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let (hardware, software) = (device.hardware_key(), device.software_key());
        assert_eq!(hardware.dword("", "Size", irql), Ok(16));
        assert_eq!(hardware.dword("", "Depth", irql), Err(NOT_FOUND));
        assert_eq!(hardware.dword("Parameters", "Size", irql), Err(NOT_FOUND));
        assert_eq!(software.dword("", "Speed", irql), Ok(u32::MAX));
        assert_eq!(software.dword("", "Size", irql), Err(NOT_FOUND));
        let long = "a".repeat(33);
        assert_eq!(hardware.dword("", &long, irql), Err(Error::NAME_TOO_LONG));
        Ok(Ok::<_, Error>(Self))
    }
}

impl Device for Control {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        for key in [device.hardware_key(), device.software_key()] {
            let value = key.dword("", "Size", irql);
            assert_eq!(value, Err(Error::INVALID_DEVICE_REQUEST));
        }
        Ok(Ok::<_, Error>(Self))
    }
}

impl ControlDevice for Control {
    const NAME: &'static str = "Registry";
}

impl Filter for UpperDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        assert_eq!(device.hardware_key().dword("", "Size", irql), Ok(16));
        Ok(Ok::<_, Error>(Self))
    }
}

fn kernel() -> Arc<Kernel> {
    Kernel::new(Config {
        clock: Clock::Virtual,
        parameters: vec![("Depth".into(), 3)],
        hardware_key: vec![("Size".into(), 16)],
        software_key: vec![("Speed".into(), u32::MAX)],
        ..Config::default()
    })
}

/// The unload checks that each handle was closed.
#[test]
fn each_key_has_its_own_values() {
    let kernel = kernel();
    let stack = Stack::new(load::<Reader>(&kernel)).filter(load_filter::<UpperDriver>(&kernel));
    stack.started().unload();
}

#[test]
fn control_device_has_no_keys() {
    let kernel = kernel();
    // SAFETY: the entry point is that of a driver on wdm.
    let driver = unsafe { Driver::load(&kernel, wdm::control_entry::<Control>) };
    driver.expect("DriverEntry").unload();
}
