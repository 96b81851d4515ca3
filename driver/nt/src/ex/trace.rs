//! Event Tracing for Windows (`Etw`).

use core::ffi::c_void;

use crate::{GUID, NTSTATUS};

/// A part of an event's data.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EVENT_DATA_DESCRIPTOR {
    pub Ptr: u64,
    pub Size: u32,
    pub Reserved: u32,
}

pub type PETWENABLECALLBACK = Option<
    unsafe extern "C" fn(
        SourceId: *const GUID,
        ControlCode: u32,
        Level: u8,
        MatchAnyKeyword: u64,
        MatchAllKeyword: u64,
        FilterData: *mut c_void,
        CallbackContext: *mut c_void,
    ),
>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `EnableCallback` may be NULL. `RegHandle` is a `REGHANDLE`.
    pub fn EtwRegister(
        ProviderId: *const GUID,
        EnableCallback: PETWENABLECALLBACK,
        CallbackContext: *mut c_void,
        RegHandle: *mut u64,
    ) -> NTSTATUS;
    pub fn EtwUnregister(RegHandle: u64) -> NTSTATUS;
    /// `EventDescriptor` is an `EVENT_DESCRIPTOR`. `ActivityId` may be NULL.
    pub fn EtwWrite(
        RegHandle: u64,
        EventDescriptor: *const c_void,
        ActivityId: *const GUID,
        UserDataCount: u32,
        UserData: *mut EVENT_DATA_DESCRIPTOR,
    ) -> NTSTATUS;
    pub fn EtwWriteTransfer(
        RegHandle: u64,
        EventDescriptor: *const c_void,
        ActivityId: *const GUID,
        RelatedActivityId: *const GUID,
        UserDataCount: u32,
        UserData: *mut EVENT_DATA_DESCRIPTOR,
    ) -> NTSTATUS;
    pub fn EtwProviderEnabled(RegHandle: u64, Level: u8, Keyword: u64) -> u8;
}
