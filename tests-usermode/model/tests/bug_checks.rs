//! Calls that stop the system without a debugger, and routines that a driver registers for bug checks.
//!
//! Microsoft's pages: [`DbgBreakPoint`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgbreakpoint),
//! [`KeRegisterBugCheckCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keregisterbugcheckcallback),
//! [`KeDeregisterBugCheckCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kederegisterbugcheckcallback)

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use common::{NO_CODE, delete, extension, found, passes, stops};
use nt::{
    BufferEmpty, BufferInserted, DEVICE_OBJECT, KBUGCHECK_CALLBACK_RECORD,
    KBUGCHECK_REASON_CALLBACK_RECORD,
};
use ntmodel::Rule;

unsafe extern "C" fn on_bug_check(_: *mut c_void, _: u32) {}

unsafe extern "C" fn on_reason(
    _: i32,
    _: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    _: *mut c_void,
    _: u32,
) {
}

fn component() -> *mut u8 {
    c"driver".as_ptr().cast_mut().cast()
}

fn register(record: *mut KBUGCHECK_CALLBACK_RECORD) -> u8 {
    let (routine, name) = (Some(on_bug_check as _), component());
    nt!(KeRegisterBugCheckCallback(
        record,
        routine,
        null_mut(),
        0,
        name
    ))
}

/// A record in the device extension, which is zeroed: `BufferEmpty` is zero.
fn record(device: *mut DEVICE_OBJECT) -> *mut KBUGCHECK_CALLBACK_RECORD {
    extension(device).cast()
}

fn registers_once(device: *mut DEVICE_OBJECT) {
    let record = record(device);
    // SAFETY: the record is in the extension.
    let state = || unsafe { (*record).State };
    assert_eq!(
        nt!(KeDeregisterBugCheckCallback(record)),
        0,
        "not registered"
    );
    assert_eq!((register(record), state()), (1, BufferInserted));
    assert_eq!(register(record), 0, "registered already");
    let removed = nt!(KeDeregisterBugCheckCallback(record));
    assert_eq!((removed, state()), (1, BufferEmpty));
    let record: *mut KBUGCHECK_REASON_CALLBACK_RECORD = record.cast();
    let (routine, name) = (Some(on_reason as _), component());
    // KbCallbackSecondaryDumpData
    let added = nt!(KeRegisterBugCheckReasonCallback(record, routine, 2, name));
    let removed = nt!(KeDeregisterBugCheckReasonCallback(record));
    assert_eq!((added, removed), (1, 1));
    delete(device);
}

#[test]
fn routine_is_registered_once_and_removed_once() {
    passes(registers_once);
}

/// "Any driver that can be unloaded must remove all of its callbacks in its Unload routine."
#[test]
fn unloaded_driver_has_no_routine_for_bug_checks() {
    let body = |device: *mut DEVICE_OBJECT| {
        let block = nt!(ExAllocatePoolWithTag(512, 64, 7));
        // SAFETY: the block has this size.
        unsafe { block.cast::<u8>().write_bytes(0, 64) };
        register(block.cast());
        delete(device);
    };
    stops(body, Rule::BugCheckCallback, NO_CODE, 0, "DriverEntry");
    let body = |_: *mut DEVICE_OBJECT| {
        let block = nt!(ExAllocatePoolWithTag(512, 64, 7));
        // SAFETY: as above.
        unsafe { block.cast::<u8>().write_bytes(0, 64) };
        register(block.cast());
        nt!(ExFreePoolWithTag(block, 7));
    };
    let routine = "ExFreePoolWithTag";
    stops(body, Rule::BugCheckCallback, NO_CODE, 0, routine);
}

#[test]
fn record_of_a_routine_is_not_paged() {
    let violation = found(|_| {
        let block = nt!(ExAllocatePoolWithTag(1, 64, 7));
        // SAFETY: the block has this size.
        unsafe { block.cast::<u8>().write_bytes(0, 64) };
        register(block.cast());
    });
    let seen = (violation.rule, violation.code, violation.routine);
    let expected = (Rule::PagedMemory, 0xd1, "KeRegisterBugCheckCallback");
    assert_eq!(seen, expected, "{violation}");
}

#[test]
fn breakpoint_without_a_debugger_stops_the_system() {
    // SAFETY: the model has the variable.
    assert_eq!(unsafe { nt::KdDebuggerEnabled }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { nt::KdDebuggerNotPresent }, 1);
    let status = 0x8000_0003;
    let body = |_: *mut DEVICE_OBJECT| {
        assert_eq!(nt!(KdRefreshDebuggerNotPresent()), 1);
        nt!(DbgBreakPoint());
    };
    stops(body, Rule::BugCheck, 0x1e, status, "DbgBreakPoint");
    let body = |_| nt!(DbgBreakPointWithStatus(7));
    let routine = "DbgBreakPointWithStatus";
    stops(body, Rule::BugCheck, 0x1e, status, routine);
}

#[test]
fn assertion_that_fails_is_reported() {
    let violation = found(|_| {
        let [text, file] = [c"Count != 0", c"driver.c"].map(|text| text.as_ptr().cast_mut());
        nt!(RtlAssert(text.cast(), file.cast(), 12, null_mut()));
    });
    common::is(&violation, Rule::BugCheck, 0x1e, 0x8000_0003, "RtlAssert");
    let what = "the assertion Count != 0 in driver.c, line 12, fails";
    assert_eq!(violation.what, what);
}

#[test]
fn bug_check_without_parameters_has_zeros() {
    let routine = "KeBugCheck";
    stops(|_| nt!(KeBugCheck(0xe2)), Rule::BugCheck, 0xe2, 0, routine);
}
