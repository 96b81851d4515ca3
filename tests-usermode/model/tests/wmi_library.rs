//! A driver that handles its WMI requests with WMILIB, and sends events.
//!
//! Microsoft's pages: [`WmiSystemControl`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wmilib/nf-wmilib-wmisystemcontrol),
//! [`WmiFireEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wmilib/nf-wmilib-wmifireevent) and
//! [`IoWMIWriteEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iowmiwriteevent)

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use call::{CLASS, create_device};
use common::{NO_CODE, delete, passes, stops};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, GUID, IRP, NTSTATUS, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
    UNICODE_STRING,
};
use ntmodel::{Config, Driver, Kernel, Rule};

unsafe extern "C" {
    fn WmiSystemControl(
        library: *mut c_void,
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        disposition: *mut i32,
    ) -> NTSTATUS;
    fn WmiFireEvent(
        device: *mut DEVICE_OBJECT,
        guid: *const GUID,
        instance: u32,
        size: u32,
        data: *mut c_void,
    ) -> NTSTATUS;
    fn WmiCompleteRequest(
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        status: NTSTATUS,
        used: u32,
        boost: i8,
    ) -> NTSTATUS;
}

/// `WMIREG_ACTION_REGISTER` and `WMIREG_ACTION_DEREGISTER`
const REGISTER: u32 = 1;
const DEREGISTER: u32 = 2;
/// The values of `SYSCTL_IRP_DISPOSITION`.
const NOT_COMPLETED: i32 = 1;
const NOT_WMI: i32 = 2;
const FORWARD: i32 = 3;

fn lower<'a>(device: *mut DEVICE_OBJECT) -> &'a mut *mut DEVICE_OBJECT {
    // SAFETY: the device object is alive.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: the pointer is in the extension.
    unsafe { &mut *extension.cast() }
}

fn pass(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    nt!(IofCallDriver(*lower(device), irp))
}

/// The dispatch routine of the toaster samples.
unsafe extern "C" fn system_control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let mut disposition = 7;
    // SAFETY: the arguments are those of the request.
    let status = unsafe { WmiSystemControl(null_mut(), device, irp, &raw mut disposition) };
    match disposition {
        NOT_COMPLETED => {
            nt!(IofCompleteRequest(irp, 0));
            status
        }
        NOT_WMI | FORWARD => pass(device, irp),
        other => panic!("the disposition is {other}"),
    }
}

unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let is_removal = nt!(irp::minor_function(irp)) == nt::IRP_MN_REMOVE_DEVICE;
    if is_removal {
        let status = nt!(IoWMIRegistrationControl(device, DEREGISTER));
        assert_eq!(status, STATUS_SUCCESS);
    }
    let status = pass(device, irp);
    if is_removal {
        nt!(IoDetachDevice(*lower(device)));
        delete(device);
    }
    status
}

unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { WmiCompleteRequest(device, irp, STATUS_SUCCESS, 0, 0) }
}

unsafe extern "C" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let device = create_device(driver, 8);
    *lower(device) = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    let status = nt!(IoWMIRegistrationControl(device, REGISTER));
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: the device is the driver's.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is valid in DriverEntry.
    let object = unsafe { &mut *driver };
    object.MajorFunction.fill(Some(control));
    object.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
    object.MajorFunction[nt::IRP_MJ_SYSTEM_CONTROL] = Some(system_control);
    object.DriverUnload = Some(unload);
    // SAFETY: as above.
    unsafe { (*object.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

#[test]
fn request_for_another_provider_is_forwarded() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry succeeds");
    let device = driver.add_device().expect("AddDevice succeeds");
    device.start().expect("the device starts");
    // IRP_MN_QUERY_ALL_DATA, IRP_MN_REGINFO_EX, and a minor function that is not WMI's
    for minor in [0, 0xb, 0x20] {
        assert_eq!(device.system_control(minor), STATUS_NOT_SUPPORTED);
    }
    let access = ntmodel::Access::ReadWrite;
    device
        .open_anyway(access)
        .expect("it is completed by WMILIB")
        .close();
    device.remove().expect("no file is open");
    driver.unload();
}

/// The event's block, which is freed.
fn data() -> *mut c_void {
    nt!(ExAllocatePoolWithTag(512, 16, 7))
}

fn fire(device: *mut DEVICE_OBJECT, size: u32, data: *mut c_void) -> NTSTATUS {
    // SAFETY: the arguments are as the page says, or the model finds which is not.
    unsafe { WmiFireEvent(device, &raw const CLASS, 0, size, data) }
}

#[test]
fn data_of_an_event_is_freed() {
    passes(|device| {
        nt!(IoWMIRegistrationControl(device, REGISTER));
        assert_eq!(fire(device, 16, data()), STATUS_SUCCESS);
        assert_eq!(fire(device, 0, null_mut()), STATUS_SUCCESS);
        assert_eq!(nt!(IoWMIWriteEvent(data())), STATUS_SUCCESS);
        nt!(IoWMIRegistrationControl(device, DEREGISTER));
        delete(device);
    });
}

#[test]
fn events_are_sent_as_documented() {
    let fires = "WmiFireEvent";
    let body = |device: *mut DEVICE_OBJECT| {
        fire(device, 0, null_mut());
    };
    stops(body, Rule::WmiRegistration, NO_CODE, 0, fires);
    let body = |device: *mut DEVICE_OBJECT| {
        nt!(IoWMIRegistrationControl(device, REGISTER));
        fire(device, 16, null_mut());
    };
    stops(body, Rule::Pointer, NO_CODE, 0, fires);
    let body = |device: *mut DEVICE_OBJECT| {
        nt!(IoWMIRegistrationControl(device, REGISTER));
        nt!(KfRaiseIrql(5));
        fire(device, 0, null_mut());
    };
    stops(body, Rule::Irql, 0xc4, 0xe5, fires);
    let freed_twice = common::found(|_| {
        let data = data();
        nt!(IoWMIWriteEvent(data));
        nt!(ExFreePoolWithTag(data, 7));
    });
    assert_eq!(freed_twice.routine, "ExFreePoolWithTag", "{freed_twice}");
}
