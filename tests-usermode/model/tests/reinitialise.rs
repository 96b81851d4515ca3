//! Reinitialize routines, which run after `DriverEntry`.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use nt::{DRIVER_OBJECT, NTSTATUS, STATUS_CANCELLED, STATUS_SUCCESS, UNICODE_STRING};
use ntmodel::{Config, Driver, Kernel};

/// The data that a driver and its routine share.
struct Shared {
    /// The sum of the counts that the routine was called with, and the number of calls.
    counts: AtomicU32,
    calls: AtomicU32,
}

static SHARED: Shared = Shared {
    counts: AtomicU32::new(0),
    calls: AtomicU32::new(0),
};

fn register(driver: *mut DRIVER_OBJECT) {
    let context = (&raw const SHARED).cast_mut().cast();
    nt!(IoRegisterDriverReinitialization(
        driver,
        Some(reinitialise),
        context
    ));
}

/// Registers itself again until it was called three times.
unsafe extern "C" fn reinitialise(driver: *mut DRIVER_OBJECT, context: *mut c_void, count: u32) {
    // SAFETY: `register` passes the structure.
    let shared = unsafe { &*context.cast::<Shared>() };
    shared.counts.fetch_add(count, SeqCst);
    if shared.calls.fetch_add(1, SeqCst) < 2 {
        register(driver);
    }
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

unsafe extern "C" fn succeeds(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    register(driver);
    assert_eq!(SHARED.calls.load(SeqCst), 0, "DriverEntry has not returned");
    // SAFETY: the driver object is this routine's.
    unsafe { (*driver).DriverUnload = Some(unload) };
    STATUS_SUCCESS
}

/// The routine of a driver whose `DriverEntry` fails.
unsafe extern "C" fn never(_: *mut DRIVER_OBJECT, _: *mut c_void, _: u32) {
    panic!("DriverEntry has failed");
}

unsafe extern "C" fn fails(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let routine: nt::PDRIVER_REINITIALIZE = Some(never);
    nt!(IoRegisterDriverReinitialization(
        driver,
        routine,
        null_mut()
    ));
    STATUS_CANCELLED
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-reinitialize-routine>: the routine runs after `DriverEntry` if that
/// returns `STATUS_SUCCESS`, gets the number of its calls, and can be queued again.
#[test]
fn a_reinitialize_routine_runs_after_driver_entry() {
    let kernel = Kernel::new(Config::default());
    common::load(&kernel, fails);
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, succeeds) }.expect("DriverEntry");
    assert_eq!(SHARED.calls.load(SeqCst), 3);
    assert_eq!(SHARED.counts.load(SeqCst), 1 + 2 + 3);
    driver.unload();
}
