//! Device objects whose security is text, and the access of an IOCTL: what wdmsec.lib adds to a driver.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{null, null_mut},
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};

use call::{open_device, with_string};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_CANCELLED,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, File, Kernel, User};

unsafe extern "C" {
    /// A driver in C calls it through wdmsec.lib.
    fn IoCreateDeviceSecure(
        driver: *mut DRIVER_OBJECT,
        extension_size: u32,
        name: *mut UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        security: *const UNICODE_STRING,
        class: *const c_void,
        device: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
}

const READERS: &str = r"\Device\Readers";
const KERNEL_ONLY: &str = r"\Device\KernelOnly";

fn create(driver: *mut DRIVER_OBJECT, name: &str, security: &str) -> NTSTATUS {
    let mut device = null_mut();
    with_string(name, |name| {
        let name = if security.is_empty() {
            null_mut()
        } else {
            name
        };
        with_string(security, |security| {
            // SAFETY: the arguments are valid.
            unsafe {
                IoCreateDeviceSecure(
                    driver,
                    0,
                    name,
                    nt::FILE_DEVICE_UNKNOWN,
                    nt::FILE_DEVICE_SECURE_OPEN,
                    0,
                    security,
                    null(),
                    &raw mut device,
                )
            }
        })
    })
}

/// The result of the routine for an `IRP_MJ_CREATE`.
static OF_CREATE: AtomicI32 = AtomicI32::new(0);

/// Completes an IOCTL with the answer for the access that is its function.
unsafe extern "C" fn validate(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let mut status = STATUS_SUCCESS;
    match nt!(irp::major_function(irp)) {
        nt::IRP_MJ_DEVICE_CONTROL => {
            let code = nt!(irp::io_control(irp)).code;
            status = nt!(IoValidateDeviceIoControlAccess(irp, code >> 2 & 0xf));
        }
        nt::IRP_MJ_CREATE => {
            OF_CREATE.store(nt!(IoValidateDeviceIoControlAccess(irp, 1)), SeqCst);
        }
        _ => {}
    }
    nt!(irp::set_status(irp, status));
    nt!(irp::set_information(irp, 0));
    nt!(IofCompleteRequest(irp, 0));
    status
}

unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    loop {
        // SAFETY: the I/O manager passes the driver object.
        let device = unsafe { (*driver).DeviceObject };
        if device.is_null() {
            break;
        }
        nt!(IoDeleteDevice(device));
    }
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let readers = "D:P(A;;GA;;;SY)(A;;GRGW;;;BA)(A;;0x120089;;;BU)";
    for invalid in [
        "",
        "D:P(A;;GA;;;XX)",
        "D:P(A;;GY;;;SY)",
        "D:P(A;;GA;;;SY",
        "S:P",
    ] {
        assert!(create(driver, READERS, invalid) < 0, "{invalid}");
    }
    assert_eq!(create(driver, READERS, readers), STATUS_SUCCESS);
    assert_eq!(create(driver, KERNEL_ONLY, "D:P"), STATUS_SUCCESS);
    // SAFETY: the driver object is this routine's.
    let driver = unsafe { &mut *driver };
    driver.MajorFunction = [Some(validate); 28];
    driver.DriverUnload = Some(unload);
    STATUS_SUCCESS
}

unsafe extern "C" fn opens(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let (file, _) = open_device(KERNEL_ONLY, 1).expect("the kernel opens any device");
    nt!(ObfDereferenceObject(file.cast()));
    STATUS_CANCELLED
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/sddl-for-device-objects>: system, administrators and users. With
/// `SDDL_DEVOBJ_KERNEL_ONLY`, `D:P`, user mode cannot open the device.
#[test]
fn the_text_determines_who_opens_a_device() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry");
    let status = |name, access, user| {
        let opened = kernel.open_device(name, access, user).map(File::close);
        opened.err().unwrap_or(STATUS_SUCCESS)
    };
    for (access, user, expected) in [
        (Access::ReadWrite, User::System, STATUS_SUCCESS),
        (Access::ReadWrite, User::Administrator, STATUS_SUCCESS),
        (Access::Read, User::Ordinary, STATUS_SUCCESS),
        (Access::ReadWrite, User::Ordinary, STATUS_ACCESS_DENIED),
    ] {
        assert_eq!(
            status(READERS, access, user),
            expected,
            "{access:?} {user:?}"
        );
        assert_eq!(status(KERNEL_ONLY, access, user), STATUS_ACCESS_DENIED);
    }
    common::load(&kernel, opens);
    driver.unload();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdmsec/nf-wdmsec-wdmlibiovalidatedeviceiocontrolaccess>
#[test]
fn the_access_of_an_ioctl_is_that_of_its_file() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry");
    let file = kernel.open_device(READERS, Access::Read, User::Ordinary);
    let file = file.expect("it opens");
    let answers = [0, 1, 2, 3, 4]
        .map(|access| file.device_control(0x22_0000 | access << 2, &[], Vec::new()))
        .map(|request| request.answer());
    let expected = [
        STATUS_SUCCESS,
        STATUS_SUCCESS,
        STATUS_ACCESS_DENIED,
        STATUS_ACCESS_DENIED,
        STATUS_INVALID_PARAMETER,
    ];
    assert_eq!(answers, expected);
    assert_eq!(OF_CREATE.load(SeqCst), STATUS_INVALID_PARAMETER);
    file.close();
    driver.unload();
}
