//! A device object that is attached to a named device.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioattachdevice)

#[macro_use]
mod call;
mod common;

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering},
};

use call::{create_device, create_named_device, with_string};
use nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_CANCELLED,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Kernel, Rule};

/// The requests that the source device got, by their major functions.
static GOT: [AtomicU32; 28] = [const { AtomicU32::new(0) }; 28];

/// The extension of the source device is the lower device object, and the target has none.
unsafe extern "C" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver's device object.
    let extension = unsafe { (*device).DeviceExtension }.cast::<*mut DEVICE_OBJECT>();
    if extension.is_null() {
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        nt!(IofCompleteRequest(irp, 0));
        return STATUS_SUCCESS;
    }
    GOT[nt!(irp::major_function(irp))].fetch_add(1, Ordering::SeqCst);
    // SAFETY: `IoAttachDevice` has written it.
    let lower = unsafe { extension.read() };
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    nt!(IofCallDriver(lower, irp))
}

/// Creates the two devices; returns the target and the source.
fn devices(driver: *mut DRIVER_OBJECT) -> [*mut DEVICE_OBJECT; 2] {
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        // SAFETY: the driver object is the caller's to fill in.
        unsafe { (*driver).MajorFunction[major] = Some(dispatch) };
    }
    let target = create_named_device(driver, 0, r"\Device\Target", 0, 0);
    let devices = [
        target.expect("IoCreateDevice succeeds"),
        create_device(driver, 8),
    ];
    for device in devices {
        // SAFETY: the device object was just created.
        unsafe { (*device).Flags &= !DO_DEVICE_INITIALIZING };
    }
    devices
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let [target, source] = devices(driver);
    let lower = common::extension(source).cast::<*mut DEVICE_OBJECT>();
    let attach = |name| with_string(name, |name| nt!(IoAttachDevice(source, name, lower)));
    assert_eq!(attach(r"\Device\Other"), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_eq!(attach(r"\Device\Target"), STATUS_SUCCESS);
    // SAFETY: the extension has room for the pointer.
    assert_eq!(unsafe { lower.read() }, target);
    // SAFETY: the device object is the driver's.
    let size = unsafe { (*source).StackSize };
    assert_eq!(size, 2, "one more than the lower device's");
    let got = [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE]
        .map(|major| GOT[major].load(Ordering::SeqCst));
    assert_eq!(got, [0, 1, 1], "it was attached while the file was open");
    nt!(IoDetachDevice(target));
    nt!(IoDeleteDevice(source));
    nt!(IoDeleteDevice(target));
    STATUS_CANCELLED
}

#[test]
fn source_gets_the_close_of_the_file_by_which_the_target_was_found() {
    common::load(&Kernel::new(Config::default()), entry);
}

unsafe extern "C" fn stack_entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let [_, source] = devices(driver);
    let mut lower = null_mut();
    with_string(r"\Device\Target", |name| {
        nt!(IoAttachDevice(source, name, &raw mut lower))
    });
    STATUS_CANCELLED
}

#[test]
fn lower_device_object_is_not_written_to_the_stack() {
    let found = common::found_in(|kernel| common::load(kernel, stack_entry));
    assert_eq!(found.rule, Rule::Pointer, "{found}");
    assert_eq!(found.routine, "IoAttachDevice", "{found}");
}
