//! Reports of a driver to the system: entries of the error log, events, data of WMI, and the state of its device. Microsoft's pages:
//! [1](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateerrorlogentry),
//! [2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwwrite),
//! [3](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iowmiregistrationcontrol),
//! [4](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinvalidatedevicestate), and that of
//! [bug check 0xC4](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xc4--driver-verifier-detected-violation)

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ptr::{null, null_mut},
    sync::Arc,
};

use call::CLASS;
use common::{delete, passes, stops};
use nt::{
    DEVICE_OBJECT, EVENT_DATA_DESCRIPTOR, IRP, NTSTATUS, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ntmodel::{Config, Driver, Kernel, Rule};
use steps::{Steps, complete, holds, lower, skip};

/// The size of an `IO_ERROR_LOG_PACKET`.
const PACKET: u8 = 0x30;

fn allocate(device: *mut DEVICE_OBJECT, size: u8) -> *mut u8 {
    nt!(IoAllocateErrorLogEntry(device.cast(), size)).cast()
}

#[test]
fn entry_of_the_error_log_is_written_once() {
    let kernel = Kernel::new(Config::default());
    common::scenario(|device: *mut DEVICE_OBJECT| {
        let entry = allocate(device, PACKET + 8);
        // SAFETY: the entry has this length.
        unsafe { entry.write_bytes(7, usize::from(PACKET) + 8) };
        // DumpDataSize, NumberOfStrings and StringOffset: no text, and dump data up to the end.
        // SAFETY: as above.
        unsafe { entry.cast::<[u16; 4]>().write_unaligned([0, 16, 0, 0]) };
        nt!(IoWriteErrorLogEntry(entry.cast()));
        nt!(IoFreeErrorLogEntry(allocate(device, PACKET).cast()));
        assert!(allocate(device, PACKET - 1).is_null(), "no packet fits");
        assert!(allocate(device, 241).is_null(), "ERROR_LOG_MAXIMUM_SIZE");
        delete(device);
    })(&kernel);
    let start = [0, 0, 16, 0, 0, 0, 0, 0];
    assert_eq!(kernel.error_log(), [[&start[..], &[7; 0x30]].concat()]);
    let twice = |device: *mut DEVICE_OBJECT| {
        let entry = allocate(device, PACKET).cast();
        nt!(IoWriteErrorLogEntry(entry));
        nt!(IoFreeErrorLogEntry(entry));
    };
    let found = common::found(twice);
    assert_eq!(found.routine, "IoFreeErrorLogEntry", "{found}");
    let leaks = |device| {
        allocate(device, PACKET);
        delete(device);
    };
    stops(leaks, Rule::Pool, 0xc4, 0x62, "DriverEntry");
}

fn register() -> u64 {
    let mut handle = 0;
    let status = nt!(EtwRegister(
        &raw const CLASS,
        None,
        null_mut(),
        &raw mut handle
    ));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

fn write(handle: u64, count: u32, data: *mut EVENT_DATA_DESCRIPTOR) -> NTSTATUS {
    nt!(EtwWrite(handle, null(), null(), count, data))
}

#[test]
fn events_of_a_provider_that_is_not_enabled_are_not_logged() {
    passes(|device| {
        let handle = register();
        assert_eq!(nt!(EtwProviderEnabled(handle, 0, 0)), 0);
        assert_eq!(write(handle, 0, null_mut()), STATUS_SUCCESS);
        assert_eq!(write(handle, 129, null_mut()), STATUS_INVALID_PARAMETER);
        assert_eq!(nt!(EtwUnregister(handle)), STATUS_SUCCESS);
        assert_eq!(write(handle, 0, null_mut()), STATUS_INVALID_HANDLE);
        delete(device);
    });
    let twice = |_| {
        let handle = register();
        nt!(EtwUnregister(handle));
        nt!(EtwUnregister(handle));
    };
    stops(twice, Rule::EventProvider, 0xc4, 0xdc, "EtwUnregister");
    let leaks = |device| {
        register();
        delete(device);
    };
    stops(leaks, Rule::EventProvider, 0xc4, 0xdd, "DriverEntry");
    let paged = |_| {
        let handle = register();
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, 16, 1));
        let mut data = EVENT_DATA_DESCRIPTOR {
            Ptr: block.expose_provenance() as u64,
            Size: 16,
            Reserved: 0,
        };
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        write(handle, 1, &raw mut data);
    };
    let found = common::found(paged);
    let broken = (found.rule, found.code);
    assert_eq!(broken, (Rule::PagedMemory, 0xd1), "{found}");
}

#[test]
fn device_is_deregistered_from_wmi_before_it_is_deleted() {
    let control = |device, action| nt!(IoWMIRegistrationControl(device, action));
    passes(move |device| {
        assert_eq!(control(device, 0), STATUS_INVALID_PARAMETER);
        assert_eq!(control(device, 1), STATUS_SUCCESS);
        assert_eq!(control(device, 4), STATUS_SUCCESS);
        assert_eq!(control(device, 2), STATUS_SUCCESS);
        delete(device);
    });
    let leaks = move |device| {
        control(device, 1);
        delete(device);
    };
    stops(leaks, Rule::WmiRegistration, 0xc4, 0xdb, "IoDeleteDevice");
    let high = move |device| {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        control(device, 1);
    };
    let routine = "IoWMIRegistrationControl";
    stops(high, Rule::IrqlIoPassive5, 0xc4, 0x2_000e, routine);
}

const QUERY_PNP_DEVICE_STATE: u8 = 0x14;
const PNP_DEVICE_FAILED: usize = 4;

/// Reports, while it is started, that its device has failed.
struct Fails;

impl Steps for Fails {
    type Own = ();

    fn pass_down(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP) -> NTSTATUS {
        let below = lower::<Self>(device);
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP {
            let minor = nt!(irp::minor_function(irp));
            if minor == nt::IRP_MN_START_DEVICE {
                nt!(IoInvalidateDeviceState(below));
            } else if minor == QUERY_PNP_DEVICE_STATE {
                nt!(irp::set_information(irp, PNP_DEVICE_FAILED));
                nt!(irp::set_status(irp, STATUS_SUCCESS));
            }
        }
        skip(below, irp)
    }

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }
}

fn start_and_remove(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, steps::entry::<Fails>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    device.surprise_remove();
    driver.unload();
    // The query is sent between the requests of the test, or after the last one.
    assert!([None, Some(PNP_DEVICE_FAILED), Some(0)].contains(&device.state()));
}

#[test]
fn drivers_are_queried_for_the_state_of_a_device() {
    holds(start_and_remove);
    let kernel = Kernel::new(Config::default());
    // SAFETY: as above.
    let driver = unsafe { Driver::load(&kernel, steps::entry::<Fails>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    while device.state().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(device.state(), Some(PNP_DEVICE_FAILED));
    device.surprise_remove();
    driver.unload();
}
