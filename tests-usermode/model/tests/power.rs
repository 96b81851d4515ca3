//! What a driver may get wrong with power requests is found.

mod common;

use std::{cell::Cell, ptr::null_mut, sync::Arc};

use common::{NO_CODE, found_in};
use nt::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};
use ntmodel::{Config, Driver, Kernel, PowerState, Rule};

/// What the driver does with a power request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handling {
    Passes,
    /// Completes it with this status.
    Completes(NTSTATUS),
    /// Calls `PoSetPowerState` with this type and state at this IRQL, and passes it down.
    Tells(i32, i32, u8),
}

thread_local! {
    static HANDLING: Cell<Handling> = const { Cell::new(Handling::Passes) };
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
    driver.MajorFunction[nt::IRP_MJ_POWER] = Some(power);
    // SAFETY: the driver object comes with its extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let mut device = null_mut();
    let kind = nt::FILE_DEVICE_UNKNOWN;
    // SAFETY: the PnP manager gives the driver object.
    let status = unsafe { nt::IoCreateDevice(driver, 8, null_mut(), kind, 0, 0, &raw mut device) };
    assert_eq!(status, STATUS_SUCCESS);
    // SAFETY: both device objects are alive, and the new one is attached nowhere.
    let lower = unsafe { nt::IoAttachDeviceToDeviceStack(device, pdo) };
    // SAFETY: the extension has room for a pointer, and is this driver's.
    unsafe { below(device).write(lower) };
    // SAFETY: the device object was just made.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
    STATUS_SUCCESS
}

/// Where the object below is kept.
fn below(device: *mut DEVICE_OBJECT) -> *mut *mut DEVICE_OBJECT {
    // SAFETY: the device object is alive.
    unsafe { (*device).DeviceExtension }.cast()
}

fn pass(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: `add_device` has kept the object below there.
    let lower = unsafe { below(device).read() };
    // SAFETY: the IRP is this driver's, and passed on next.
    unsafe { nt::irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: as above.
    unsafe { nt::IofCallDriver(lower, irp) }
}

unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is this routine's, and passed on next.
    let removed = unsafe { nt::irp::minor_function(irp) } == nt::IRP_MN_REMOVE_DEVICE;
    // SAFETY: `add_device` has kept the object below there.
    let lower = unsafe { below(device).read() };
    let status = pass(device, irp);
    if removed {
        // SAFETY: the device object is attached to it.
        unsafe { nt::IoDetachDevice(lower) };
        // SAFETY: the device object is not used any more.
        unsafe { nt::IoDeleteDevice(device) };
    }
    status
}

unsafe extern "C" fn power(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    match HANDLING.get() {
        Handling::Passes => {}
        Handling::Completes(status) => {
            // SAFETY: the IRP is this routine's.
            unsafe { nt::irp::set_status(irp, status) };
            // SAFETY: as above, and given up.
            unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
            return status;
        }
        Handling::Tells(kind, state, irql) => {
            // SAFETY: the IRQL is raised.
            let old = unsafe { nt::KfRaiseIrql(irql) };
            // SAFETY: whether this may be done is what is tested.
            unsafe { nt::PoSetPowerState(device, kind, state) };
            // SAFETY: the IRQL was raised from there.
            unsafe { nt::KeLowerIrql(old) };
        }
    }
    pass(device, irp)
}

const D0: PowerState = PowerState::Device(1);
const D3: PowerState = PowerState::Device(4);

/// A driver's whole life, with one request for a state.
fn live(kernel: &Arc<Kernel>, handling: Handling, query: bool, state: PowerState) -> NTSTATUS {
    // SAFETY: the entry point is that of a driver on `nt`; the mistakes are the model's to find.
    let driver = unsafe { Driver::load(kernel, entry) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    HANDLING.set(handling);
    let status = if query {
        device.query_power(state)
    } else {
        device.set_power(state)
    };
    device.remove().expect("no file is open");
    driver.unload();
    status
}

fn stops(handling: Handling, query: bool, state: PowerState, rule: Rule, code: u32) {
    let violation = found_in(move |kernel| {
        live(kernel, handling, query, state);
    });
    assert_eq!(
        (violation.rule, violation.code),
        (rule, code),
        "\n{violation}"
    );
}

#[test]
fn by_the_book_nothing_is_found() {
    let kernel = Kernel::new(Config::default());
    for (handling, query, state, status) in [
        (Handling::Passes, false, D3, STATUS_SUCCESS),
        (Handling::Passes, true, D3, STATUS_SUCCESS),
        (Handling::Tells(1, 1, 2), false, D0, STATUS_SUCCESS),
        (Handling::Tells(1, 4, 1), false, D3, STATUS_SUCCESS),
        // A query can be refused.
        (
            Handling::Completes(nt::STATUS_UNSUCCESSFUL),
            true,
            D3,
            nt::STATUS_UNSUCCESSFUL,
        ),
        (
            Handling::Completes(nt::STATUS_DELETE_PENDING),
            false,
            D3,
            nt::STATUS_DELETE_PENDING,
        ),
    ] {
        assert_eq!(live(&kernel, handling, query, state), status);
    }
    assert!(kernel.violation().is_none());
}

#[test]
fn power_state_is_refused() {
    let fails = Handling::Completes(nt::STATUS_UNSUCCESSFUL);
    stops(fails, false, D0, Rule::PowerUpFail, NO_CODE);
    stops(fails, false, D3, Rule::PowerDownFail, NO_CODE);
}

#[test]
fn power_request_is_completed_and_not_passed_on() {
    let completes = Handling::Completes(STATUS_SUCCESS);
    stops(completes, false, D0, Rule::PowerUpFail, NO_CODE);
    stops(completes, false, D3, Rule::PowerDownFail, NO_CODE);
    stops(completes, true, D3, Rule::PowerDownFail, NO_CODE);
}

#[test]
fn power_manager_is_told_at_dispatch_level() {
    stops(Handling::Tells(1, 4, 2), false, D3, Rule::Irql, 0xc4);
}

#[test]
fn power_manager_is_told_no_state_of_a_device() {
    for (kind, state) in [(0, 4), (1, 0), (1, 5)] {
        stops(
            Handling::Tells(kind, state, 0),
            false,
            D3,
            Rule::PowerState,
            NO_CODE,
        );
    }
}
