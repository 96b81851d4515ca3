//! The registry keys of a device.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey)

#[macro_use]
mod call;
mod common;

use std::ptr::null_mut;

use common::{passes, stops};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, NTSTATUS, PLUGPLAY_REGKEY_CURRENT_HWPROFILE,
    PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER, STATUS_CANCELLED, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Driver, Kernel, Rule};

/// Opens a key of a device object.
fn open(device: *mut DEVICE_OBJECT, kind: u32) -> (NTSTATUS, HANDLE) {
    let mut handle = null_mut();
    // SAFETY: whether this may be done is what is tested.
    let status =
        unsafe { nt::IoOpenDeviceRegistryKey(device, kind, nt::KEY_READ, &raw mut handle) };
    (status, handle)
}

/// A device of the driver's own is no physical one.
#[test]
fn keys_belong_to_the_physical_device_object() {
    passes(|device| {
        for kind in [PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER] {
            assert_eq!(open(device, kind), (STATUS_INVALID_PARAMETER, null_mut()));
        }
        common::delete(device);
    });
}

#[test]
fn keys_are_opened_at_passive_level() {
    let body = |device: *mut DEVICE_OBJECT| {
        let lock = common::extension(device);
        // SAFETY: the extension has room for a lock.
        unsafe { nt::KeInitializeSpinLock(lock) };
        // SAFETY: the lock is initialised.
        let _ = unsafe { nt::KeAcquireSpinLockRaiseToDpc(lock) };
        open(device, PLUGPLAY_REGKEY_DEVICE);
    };
    let (rule, code) = (Rule::IrqlZwPassive, 0xc4);
    stops(body, rule, code, 0x2_001f, "IoOpenDeviceRegistryKey");
}

unsafe extern "C" fn add_device(_: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let both = PLUGPLAY_REGKEY_DEVICE | PLUGPLAY_REGKEY_DRIVER;
    for kind in [0, both, PLUGPLAY_REGKEY_CURRENT_HWPROFILE, 8] {
        assert_eq!(open(pdo, kind), (STATUS_INVALID_PARAMETER, null_mut()));
    }
    for kind in [PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER] {
        for kind in [kind, kind | PLUGPLAY_REGKEY_CURRENT_HWPROFILE] {
            let (status, handle) = open(pdo, kind);
            assert_eq!(status, STATUS_SUCCESS);
            // SAFETY: the handle is open.
            assert_eq!(unsafe { nt::ZwClose(handle) }, STATUS_SUCCESS);
        }
    }
    STATUS_CANCELLED
}

unsafe extern "C" fn leaking_add_device(
    _: *mut DRIVER_OBJECT,
    pdo: *mut DEVICE_OBJECT,
) -> NTSTATUS {
    assert_eq!(open(pdo, PLUGPLAY_REGKEY_DRIVER).0, STATUS_SUCCESS);
    STATUS_CANCELLED
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

/// Defines a `DriverEntry` with an AddDevice routine.
macro_rules! entry {
    ($name:ident, $add:ident) => {
        unsafe extern "C" fn $name(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
            // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
            let driver = unsafe { &mut *driver };
            driver.DriverUnload = Some(unload);
            // SAFETY: the driver object comes with its extension.
            unsafe { (*driver.DriverExtension).AddDevice = Some($add) };
            STATUS_SUCCESS
        }
    };
}

entry!(entry, add_device);
entry!(leaking_entry, leaking_add_device);

#[test]
fn one_of_two_keys_is_opened() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry");
    assert_eq!(driver.add_device().err(), Some(STATUS_CANCELLED));
    driver.unload();
}

#[test]
fn an_open_key_is_found_at_the_unload() {
    let violation = common::found_in(|kernel| {
        // SAFETY: the entry point is that of a driver on `nt`.
        let driver = unsafe { Driver::load(kernel, leaking_entry) }.expect("DriverEntry");
        assert_eq!(driver.add_device().err(), Some(STATUS_CANCELLED));
        driver.unload();
    });
    assert_eq!((violation.rule, violation.code), (Rule::Pool, 0xce));
}
