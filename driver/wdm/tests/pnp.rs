//! A function driver's device is stopped, asked for special files and its capabilities, and removed, as the pages about these PnP requests require.

mod common;

use std::{cell::Cell, sync::Arc};

use common::{kernel, start};
use ntmodel::{Access, BusAnswer, Kernel, explore};
use pinned_init::PinInit;
use wdm::{Device, Error, FileState, Guid, InterlockedLong, NewDevice, PassiveLevel, Shared};

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
fn special_file_is_refused_on_the_device_and_its_removal_is_not() {
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

/// A device that cannot be removed while it is open.
struct Opened(Shared<InterlockedLong>);

struct OpenedFile(Shared<InterlockedLong>);

impl FileState<Opened> for OpenedFile {
    fn open(device: &Opened, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        device.0.increment();
        Ok(Ok::<_, Error>(Self(device.0.clone())))
    }
}

impl Drop for OpenedFile {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

impl Device for Opened {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = OpenedFile;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let files = Shared::new(InterlockedLong::new(0), device, irql)?;
        Ok(Ok::<_, Error>(Self(files)))
    }

    fn query_remove(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        if self.0.read() == 0 {
            Ok(())
        } else {
            Err(Error::DEVICE_BUSY)
        }
    }
}

/// The device is opened while its driver is asked whether it can be removed.
fn opened_while_it_is_asked(kernel: &Arc<Kernel>) {
    let stack = start::<Opened>(kernel);
    let device = stack.device.clone();
    let opener = kernel.actor("opener", move || device.open_anyway(Access::ReadWrite));
    let agreed = stack.device.pnp(nt::IRP_MN_QUERY_REMOVE_DEVICE);
    let file = opener.join();
    match &file {
        Ok(_) => assert_eq!(agreed, nt::STATUS_DEVICE_BUSY),
        Err(status) => assert_eq!(*status, nt::STATUS_DELETE_PENDING),
    }
    if agreed == 0 {
        let further = stack.device.open_anyway(Access::ReadWrite);
        assert_eq!(further.err(), Some(nt::STATUS_DELETE_PENDING));
        assert_eq!(stack.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE), 0);
    }
    drop(file);
    stack.open().close();
    stack.unload();
}

#[test]
fn device_that_may_be_removed_is_not_opened_in_every_order() {
    explore::check(1_000, opened_while_it_is_asked);
}
