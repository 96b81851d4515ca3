//! A function driver's device is stopped, asked for special files and its capabilities, and removed, as the pages about these PnP requests say.

mod common;

use std::cell::Cell;

use common::{kernel, start};
use ntmodel::BusAnswer;
use pinned_init::PinInit;
use wdm::{Device, Error, Guid, NewDevice, PassiveLevel};

thread_local! {
    static CAN_STOP: Cell<bool> = const { Cell::new(true) };
    static STARTS: Cell<u32> = const { Cell::new(0) };
}

struct Stoppable;

impl Device for Stoppable {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn start(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        STARTS.set(STARTS.get() + 1);
        Ok(())
    }

    fn query_stop(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        if CAN_STOP.get() {
            Ok(())
        } else {
            Err(Error::DEVICE_BUSY)
        }
    }
}

#[test]
fn device_is_stopped_unless_its_driver_refuses() {
    let stack = start::<Stoppable>(&kernel());
    let device = &stack.device;
    CAN_STOP.set(false);
    let refused = device.pnp(nt::IRP_MN_QUERY_STOP_DEVICE);
    assert_eq!(refused, nt::STATUS_DEVICE_BUSY);
    assert_eq!(device.pnp(nt::IRP_MN_CANCEL_STOP_DEVICE), 0);
    CAN_STOP.set(true);
    assert_eq!(device.pnp(nt::IRP_MN_QUERY_STOP_DEVICE), 0);
    assert_eq!(device.pnp(nt::IRP_MN_STOP_DEVICE), 0);
    assert_eq!(device.pnp(nt::IRP_MN_START_DEVICE), 0);
    assert_eq!(STARTS.get(), 2);
    stack.unload();
}

#[test]
fn special_file_is_refused_and_one_that_leaves_is_not() {
    let stack = start::<Stoppable>(&kernel());
    let device = &stack.device;
    // The bus driver's answer shows which request reaches it.
    let answer = BusAnswer::Fail(nt::STATUS_DEVICE_BUSY);
    device.bus_answers(nt::IRP_MN_DEVICE_USAGE_NOTIFICATION, answer);
    assert_eq!(device.usage_notification(true), nt::STATUS_UNSUCCESSFUL);
    assert_eq!(device.usage_notification(false), nt::STATUS_DEVICE_BUSY);
    stack.unload();
}

#[test]
fn interface_is_disabled_once_in_a_surprise_removal() {
    let stack = start::<Stoppable>(&kernel());
    let device = &stack.device;
    let file = stack.open();
    device.surprise_remove();
    assert!(!device.is_interface_enabled());
    // Now the device is removed; the model stops the system if the interface is disabled again.
    file.close();
    assert!(device.is_removed());
    stack.unload();
}

/// A device that can be unplugged at any time.
struct Pluggable;

impl Device for Pluggable {
    const SURPRISE_REMOVAL_OK: bool = true;

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

/// `SurpriseRemovalOK`, after `DeviceD1`, `DeviceD2`, `LockSupported`, `EjectSupported`, `Removable`, `DockDevice`, `UniqueID`,
/// `SilentInstall` and `RawDeviceOK`.
const SURPRISE_REMOVAL_OK: u32 = 0x200;

#[test]
fn capability_is_added_when_the_lower_drivers_have_reported_theirs() {
    let stack = start::<Stoppable>(&kernel());
    assert_eq!(stack.device.capabilities(), Ok(0));
    stack.unload();

    let stack = start::<Pluggable>(&kernel());
    let device = &stack.device;
    assert_eq!(device.capabilities(), Ok(SURPRISE_REMOVAL_OK));
    device.bus_answers(nt::IRP_MN_QUERY_CAPABILITIES, BusAnswer::Pend);
    assert_eq!(device.capabilities(), Ok(SURPRISE_REMOVAL_OK));
    let answer = BusAnswer::Fail(nt::STATUS_DEVICE_BUSY);
    device.bus_answers(nt::IRP_MN_QUERY_CAPABILITIES, answer);
    assert_eq!(device.capabilities(), Err(nt::STATUS_DEVICE_BUSY));
    stack.unload();
}
