//! DPCs that run when an Unload routine returns. Before the I/O manager unmaps an image it waits for them, as the samples `cancel`
//! and `event` of Microsoft rely on: so they may run, but not with what the Unload routine has freed.

#[macro_use]
mod call;
mod common;

use std::{cell::UnsafeCell, ffi::c_void, ptr::null_mut, sync::Arc};

use call::create_device;
use nt::{DRIVER_OBJECT, KDPC, KEVENT, KTIMER, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};
use ntmodel::{
    Driver, Kernel, Rule,
    explore::{Scenario, Search, explore},
};

/// Variables of the driver, which go with its image.
struct Variables {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    event: UnsafeCell<KEVENT>,
}

// SAFETY: only the kernel's routines access the objects.
unsafe impl Sync for Variables {}

static VARIABLES: Variables = Variables {
    timer: UnsafeCell::new(KTIMER { Reserved: [0; 8] }),
    dpc: UnsafeCell::new(KDPC { Reserved: [0; 8] }),
    event: UnsafeCell::new(KEVENT { Header: [0; 3] }),
};

unsafe extern "C" fn signals(_: *mut KDPC, event: *mut c_void, _: *mut c_void, _: *mut c_void) {
    nt!(KeSetEvent(event.cast(), 0, 0));
}

unsafe extern "C" fn sets_again(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    nt!(KeSetTimer(VARIABLES.timer.get(), -10_000, null_mut()));
}

unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    nt!(KeCancelTimer(VARIABLES.timer.get()));
    // SAFETY: the I/O manager passes the driver object.
    let device = unsafe { (*driver).DeviceObject };
    nt!(IoDeleteDevice(device));
}

/// Sets a timer, whose DPC signals an event of the device extension or a variable.
unsafe extern "C" fn entry<const OF_DEVICE: bool, const AGAIN: bool>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let device = create_device(driver, 64);
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).DriverUnload = Some(unload) };
    // SAFETY: the device object was made here.
    let extension: *mut KEVENT = unsafe { (*device).DeviceExtension }.cast();
    let event = if OF_DEVICE {
        extension
    } else {
        VARIABLES.event.get()
    };
    nt!(KeInitializeEvent(event, 0, 0));
    let routine = if AGAIN { sets_again } else { signals };
    nt!(KeInitializeDpc(
        VARIABLES.dpc.get(),
        Some(routine),
        event.cast()
    ));
    nt!(KeInitializeTimer(VARIABLES.timer.get()));
    nt!(KeSetTimer(
        VARIABLES.timer.get(),
        -10_000,
        VARIABLES.dpc.get()
    ));
    STATUS_SUCCESS
}

fn unloads<const OF_DEVICE: bool, const AGAIN: bool>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<OF_DEVICE, AGAIN>) };
    driver.expect("DriverEntry succeeds").unload();
}

/// Returns the violation in some order of the threads.
fn violation(scenario: Scenario) -> (Rule, u32, &'static str) {
    let found = explore(Search::every(10_000), scenario).expect_err("a rule is broken");
    let violation = &found.violation;
    (violation.rule, violation.code, violation.routine)
}

/// One test, since the drivers share the variables.
#[test]
fn dpcs_that_unload_leaves_run_to_their_end() {
    let explored = explore(Search::every(10_000), unloads::<false, false>);
    assert!(explored.expect("no rule is broken").complete);
    let uses_extension = violation(unloads::<true, false>);
    assert_eq!(uses_extension, (Rule::FreedMemory, 0xd5, "KeSetEvent"));
    let sets_timer = violation(unloads::<false, true>);
    assert_eq!(sets_timer, (Rule::Dpc, 0xce, "DriverUnload"));
}
