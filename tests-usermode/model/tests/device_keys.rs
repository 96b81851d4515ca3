//! The registry keys of a device.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey)

#[macro_use]
mod call;
mod common;

use std::ptr::null_mut;

use call::{CLASS, NO_STRING};
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
    // SAFETY: the model checks the call.
    let status =
        unsafe { nt::IoOpenDeviceRegistryKey(device, kind, nt::KEY_READ, &raw mut handle) };
    (status, handle)
}

/// The driver's own device object is not a physical device object.
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

/// The properties are those on the page of
/// [IoGetDeviceProperty](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceproperty).
unsafe extern "C" fn properties(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    const ENUMERATOR_NAME: i32 = 0xf;
    const UI_NUMBER: i32 = 0x11;
    let query = |device, property, length| {
        let (mut buffer, mut needed) = ([0_u16; 16], 0);
        let into = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is longer than that.
        let status =
            unsafe { nt::IoGetDeviceProperty(device, property, length, into, &raw mut needed) };
        (status.cast_unsigned(), needed, buffer)
    };
    let (status, needed, name) = query(pdo, ENUMERATOR_NAME, 32);
    assert_eq!((status, needed), (0, 10));
    assert_eq!(String::from_utf16_lossy(&name[..5]), "ROOT\0");
    let (status, needed, _) = query(pdo, ENUMERATOR_NAME, 9);
    assert_eq!((status, needed), (0xc000_0023, 10), "BUFFER_TOO_SMALL");
    assert_eq!(query(pdo, UI_NUMBER, 4).2[..2], [0xffff; 2], "no number");
    assert_eq!(query(pdo, 99, 4).0, 0xc000_00f0, "INVALID_PARAMETER_2");
    let mut own = null_mut();
    let (name, kind) = (null_mut(), nt::FILE_DEVICE_UNKNOWN);
    // SAFETY: the driver object is the driver's.
    let status = unsafe { nt::IoCreateDevice(driver, 0, name, kind, 0, 0, &raw mut own) };
    assert_eq!(status, STATUS_SUCCESS);
    let (status, ..) = query(own, UI_NUMBER, 4);
    assert_eq!(status, 0xc000_0010, "INVALID_DEVICE_REQUEST");
    common::delete(own);
    STATUS_CANCELLED
}

/// Returns the length of the list of the interfaces of the class, in units, and frees it.
fn interfaces(pdo: *mut DEVICE_OBJECT, flags: u32) -> usize {
    let mut list = null_mut::<u16>();
    // SAFETY: the class and the address are valid.
    let status = unsafe { nt::IoGetDeviceInterfaces(&raw const CLASS, pdo, flags, &raw mut list) };
    assert_eq!(status, STATUS_SUCCESS);
    let unit = |place: usize| {
        // SAFETY: the list ends with two zeros, or is one.
        unsafe { list.wrapping_add(place).read() }
    };
    let mut length = 0;
    while unit(length) != 0 {
        length += 1;
    }
    // SAFETY: the list is this function's.
    unsafe { nt::ExFreePool(list.cast()) };
    length
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceinterfaces)
unsafe extern "C" fn lists_interfaces(_: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    const INCLUDE_NONACTIVE: u32 = 1;
    assert_eq!(interfaces(pdo, INCLUDE_NONACTIVE), 0, "an empty list");
    let mut name = NO_STRING;
    let reference = null_mut();
    // SAFETY: the class and the string are valid.
    let status =
        unsafe { nt::IoRegisterDeviceInterface(pdo, &raw const CLASS, reference, &raw mut name) };
    assert_eq!(status, STATUS_SUCCESS);
    let length = usize::from(name.Length / 2);
    assert_eq!(interfaces(pdo, 0), 0, "it is not enabled");
    assert_eq!(interfaces(null_mut(), INCLUDE_NONACTIVE), length);
    // SAFETY: the name is that of the interface.
    unsafe { nt::IoSetDeviceInterfaceState(&raw mut name, 1) };
    assert_eq!(interfaces(pdo, 0), length);
    let mut key = null_mut();
    // SAFETY: as above.
    let status =
        unsafe { nt::IoOpenDeviceInterfaceRegistryKey(&raw mut name, nt::KEY_READ, &raw mut key) };
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: the handle is open.
    unsafe { nt::ZwClose(key) };
    // SAFETY: as above.
    unsafe { nt::IoSetDeviceInterfaceState(&raw mut name, 0) };
    // SAFETY: the routine has allocated the name.
    unsafe { nt::RtlFreeUnicodeString(&raw mut name) };
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
            // SAFETY: the driver object has an extension.
            unsafe { (*driver.DriverExtension).AddDevice = Some($add) };
            STATUS_SUCCESS
        }
    };
}

entry!(entry, add_device);
entry!(leaking_entry, leaking_add_device);
entry!(properties_entry, properties);
entry!(interfaces_entry, lists_interfaces);

/// Loads a driver whose AddDevice fails.
fn add_device_of(entry: ntmodel::DriverEntry) {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry");
    assert_eq!(driver.add_device().err(), Some(STATUS_CANCELLED));
    driver.unload();
}

#[test]
fn one_of_two_keys_is_opened() {
    add_device_of(entry);
}

#[test]
fn properties_belong_to_the_physical_device_object() {
    add_device_of(properties_entry);
}

#[test]
fn interfaces_are_listed_by_class_and_state() {
    add_device_of(interfaces_entry);
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
