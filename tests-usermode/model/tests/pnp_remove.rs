//! Finds mistakes of a driver between `AddDevice` and its unload, with Driver Verifier's bug check for each that has one.

#[macro_use]
mod call;
mod common;

use std::{cell::Cell, ptr::addr_of_mut, sync::Arc};

use call::{broke, create_device};
use common::{NO_CODE, found_in};
use nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};
use ntmodel::{Config, Driver, Kernel, Rule};

/// The mistake of the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    AddDeviceFailsAttached,
    NotAttached,
    StillInitializing,
    NotDetached,
    NotDeleted,
    DetachedTwice,
    DeletedFirst,
    DeletedTwice,
    ObjectLeft,
    NoUnload,
    LeftRegistered,
}

thread_local! {
    static MISTAKE: Cell<Mistake> = const { Cell::new(Mistake::None) };
}

fn makes(mistake: Mistake) -> bool {
    MISTAKE.get() == mistake
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = (!makes(Mistake::NoUnload)).then_some(unload as _);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
    // SAFETY: the driver object has an extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let device = create_device(driver, 8);
    if makes(Mistake::ObjectLeft) {
        create_device(driver, 8);
    }
    if makes(Mistake::NotAttached) {
        return STATUS_SUCCESS;
    }
    let lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    let registered = nt!(IoRegisterShutdownNotification(device));
    assert_eq!(registered, STATUS_SUCCESS);
    // SAFETY: the extension has room for a pointer, and is this driver's.
    unsafe { extension(device).write(lower) };
    if makes(Mistake::AddDeviceFailsAttached) {
        return nt::STATUS_INSUFFICIENT_RESOURCES;
    }
    if !makes(Mistake::StillInitializing) {
        // SAFETY: the device object was just made; only the address is computed.
        let flags = unsafe { addr_of_mut!((*device).Flags) };
        // SAFETY: as above.
        unsafe { *flags &= !nt::DO_DEVICE_INITIALIZING };
    }
    STATUS_SUCCESS
}

/// The device extension, which contains the lower device object.
fn extension(device: *mut DEVICE_OBJECT) -> *mut *mut DEVICE_OBJECT {
    // SAFETY: the device object is alive.
    unsafe { (*device).DeviceExtension }.cast()
}

unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: `add_device` has kept the object below there.
    let lower = unsafe { extension(device).read() };
    let removed = nt!(irp::minor_function(irp)) == nt::IRP_MN_REMOVE_DEVICE;
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    let status = nt!(IofCallDriver(lower, irp));
    if removed {
        remove(device, lower);
    }
    status
}

fn remove(device: *mut DEVICE_OBJECT, lower: *mut DEVICE_OBJECT) {
    let detach = || nt!(IoDetachDevice(lower));
    let delete = || nt!(IoDeleteDevice(device));
    if !makes(Mistake::LeftRegistered) {
        nt!(IoUnregisterShutdownNotification(device));
    }
    match MISTAKE.get() {
        Mistake::NotDetached => return,
        Mistake::DeletedFirst => return delete(),
        Mistake::DetachedTwice => detach(),
        _ => {}
    }
    detach();
    if makes(Mistake::NotDeleted) {
        return;
    }
    delete();
    if makes(Mistake::DeletedTwice) {
        delete();
    }
}

/// The lifetime of a driver: it is loaded, its device is added, started and removed, and it is unloaded.
fn live(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`, whose mistakes the model detects.
    let driver = unsafe { Driver::load(kernel, entry) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    device.remove().expect("no file is open");
    driver.unload();
}

/// Checks that a mistake is found, with this rule, bug check and first parameter.
fn stops(mistake: Mistake, rule: Rule, code: u32, first: u64) {
    let violation = found_in(move |kernel| {
        MISTAKE.set(mistake);
        live(kernel);
    });
    broke(&violation, rule, code, &[first]);
}

#[test]
fn driver_without_a_mistake_breaks_no_rule() {
    let kernel = Kernel::new(Config::default());
    live(&kernel);
    assert!(kernel.violation().is_none());
}

#[test]
fn add_device_fails_and_leaves_its_object_attached() {
    stops(Mistake::AddDeviceFailsAttached, Rule::AddDevice, NO_CODE, 0);
}

#[test]
fn add_device_attaches_nothing() {
    stops(Mistake::NotAttached, Rule::AddDevice, NO_CODE, 0);
}

#[test]
fn add_device_leaves_the_object_initializing() {
    stops(Mistake::StillInitializing, Rule::DeviceFlags, 0xc9, 0x243);
}

#[test]
fn removal_does_not_detach() {
    stops(Mistake::NotDetached, Rule::DeviceRemoval, 0xc9, 0x21d);
}

#[test]
fn removal_does_not_delete() {
    stops(Mistake::NotDeleted, Rule::DeviceRemoval, 0xc9, 0x21e);
}

#[test]
fn removal_detaches_twice() {
    stops(Mistake::DetachedTwice, Rule::DeviceRemoval, 0xc9, 0x202);
}

#[test]
fn removal_deletes_an_attached_device_object() {
    stops(Mistake::DeletedFirst, Rule::DeviceRemoval, 0xc9, 0x201);
}

#[test]
fn removal_deletes_twice() {
    stops(Mistake::DeletedTwice, Rule::DeviceRemoval, 0xc9, 0x240);
}

#[test]
fn the_driver_is_unloaded_with_a_device_object() {
    stops(Mistake::ObjectLeft, Rule::DeviceRemoval, 0xce, 0);
}

#[test]
fn the_driver_has_no_unload_routine() {
    stops(Mistake::NoUnload, Rule::DriverUnload, NO_CODE, 0);
}

#[test]
fn removal_deletes_a_device_registered_for_shutdown() {
    let kernel = Kernel::new(Config::default());
    MISTAKE.set(Mistake::LeftRegistered);
    live(&kernel);
    kernel.notify_shutdown();
}
