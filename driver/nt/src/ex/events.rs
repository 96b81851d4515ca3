//! Events with names and handles.

use crate::{_EVENT_TYPE, HANDLE, KEVENT, NTSTATUS, OBJECT_ATTRIBUTES, UNICODE_STRING};

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// Returns NULL if the event cannot be created or opened.
    pub fn IoCreateNotificationEvent(
        EventName: *mut UNICODE_STRING,
        EventHandle: *mut HANDLE,
    ) -> *mut KEVENT;
    /// Returns NULL if the event cannot be created or opened.
    pub fn IoCreateSynchronizationEvent(
        EventName: *mut UNICODE_STRING,
        EventHandle: *mut HANDLE,
    ) -> *mut KEVENT;
    /// `ObjectAttributes` may be NULL.
    pub fn ZwCreateEvent(
        EventHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
        EventType: _EVENT_TYPE::Type,
        InitialState: u8,
    ) -> NTSTATUS;
    pub fn ZwOpenEvent(
        EventHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    ) -> NTSTATUS;
    /// `PreviousState` may be NULL.
    pub fn ZwSetEvent(EventHandle: HANDLE, PreviousState: *mut i32) -> NTSTATUS;
    pub fn ZwClearEvent(EventHandle: HANDLE) -> NTSTATUS;
    /// `PreviousState` may be NULL.
    pub fn ZwResetEvent(EventHandle: HANDLE, PreviousState: *mut i32) -> NTSTATUS;
}
