//! The kernel debugger, and bug checks.

use core::ffi::{c_char, c_void};

use crate::LIST_ENTRY;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// Whether a debugger is enabled. In C it is `*KdDebuggerEnabled`.
    pub static KdDebuggerEnabled: u8;
    /// Whether no debugger is attached. In C it is `*KdDebuggerNotPresent`.
    pub static KdDebuggerNotPresent: u8;
    /// Returns whether no debugger is attached.
    pub fn KdRefreshDebuggerNotPresent() -> u8;
    pub fn DbgBreakPoint();
    pub fn DbgBreakPointWithStatus(Status: u32);
    /// The routine of the macro `ASSERT` in drivers that are built for debugging.
    pub fn RtlAssert(
        VoidFailedAssertion: *mut c_void,
        VoidFileName: *mut c_void,
        LineNumber: u32,
        MutableMessage: *mut c_char,
    );
    pub fn KeBugCheck(BugCheckCode: u32) -> !;
    pub fn KeRegisterBugCheckCallback(
        CallbackRecord: *mut KBUGCHECK_CALLBACK_RECORD,
        CallbackRoutine: PKBUGCHECK_CALLBACK_ROUTINE,
        Buffer: *mut c_void,
        Length: u32,
        Component: *mut u8,
    ) -> u8;
    pub fn KeDeregisterBugCheckCallback(CallbackRecord: *mut KBUGCHECK_CALLBACK_RECORD) -> u8;
    /// `Reason` is a `KBUGCHECK_CALLBACK_REASON`.
    pub fn KeRegisterBugCheckReasonCallback(
        CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
        CallbackRoutine: PKBUGCHECK_REASON_CALLBACK_ROUTINE,
        Reason: i32,
        Component: *mut u8,
    ) -> u8;
    pub fn KeDeregisterBugCheckReasonCallback(
        CallbackRecord: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    ) -> u8;
}

pub type PKBUGCHECK_CALLBACK_ROUTINE =
    Option<unsafe extern "C" fn(Buffer: *mut c_void, Length: u32)>;

/// A registration of a routine that the system calls in a bug check. `KeInitializeCallbackRecord` is a macro that sets `State` to
/// [`BufferEmpty`].
#[repr(C)]
pub struct KBUGCHECK_CALLBACK_RECORD {
    pub Entry: LIST_ENTRY,
    pub CallbackRoutine: PKBUGCHECK_CALLBACK_ROUTINE,
    pub Buffer: *mut c_void,
    pub Length: u32,
    pub Component: *mut u8,
    pub Checksum: usize,
    pub State: u8,
}

pub type PKBUGCHECK_REASON_CALLBACK_ROUTINE = Option<
    unsafe extern "C" fn(
        Reason: i32,
        Record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
        ReasonSpecificData: *mut c_void,
        ReasonSpecificDataLength: u32,
    ),
>;

/// A registration of a routine that the system calls for a reason in a bug check. It is initialised as [`KBUGCHECK_CALLBACK_RECORD`] is.
#[repr(C)]
pub struct KBUGCHECK_REASON_CALLBACK_RECORD {
    pub Entry: LIST_ENTRY,
    pub CallbackRoutine: PKBUGCHECK_REASON_CALLBACK_ROUTINE,
    pub Component: *mut u8,
    pub Checksum: usize,
    pub Reason: i32,
    pub State: u8,
}

/// The state of a record that is not registered.
pub const BufferEmpty: u8 = 0;
/// The state of a record that is registered.
pub const BufferInserted: u8 = 1;
