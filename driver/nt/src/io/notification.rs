//! Notifications of Plug and Play events.

use core::ffi::c_void;

use crate::{DRIVER_OBJECT, GUID, NTSTATUS, UNICODE_STRING};

pub type PDRIVER_NOTIFICATION_CALLBACK_ROUTINE = Option<
    unsafe extern "C" fn(NotificationStructure: *mut c_void, Context: *mut c_void) -> NTSTATUS,
>;

/// The values of `IO_NOTIFICATION_EVENT_CATEGORY`.
pub const EventCategoryHardwareProfileChange: i32 = 1;
pub const EventCategoryDeviceInterfaceChange: i32 = 2;
pub const EventCategoryTargetDeviceChange: i32 = 3;

/// The routine is also called for each device interface that is enabled already.
pub const PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES: u32 = 1;

pub const GUID_DEVICE_INTERFACE_ARRIVAL: GUID = device_interface_event(0xcb3a_4004);
pub const GUID_DEVICE_INTERFACE_REMOVAL: GUID = device_interface_event(0xcb3a_4005);

const fn device_interface_event(first: u32) -> GUID {
    GUID {
        Data1: first,
        Data2: 0x46f0,
        Data3: 0x11d0,
        Data4: [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f],
    }
}

#[repr(C)]
pub struct DEVICE_INTERFACE_CHANGE_NOTIFICATION {
    pub Version: u16,
    pub Size: u16,
    pub Event: GUID,
    pub InterfaceClassGuid: GUID,
    pub SymbolicLinkName: *mut UNICODE_STRING,
}

const _: () = assert!(size_of::<DEVICE_INTERFACE_CHANGE_NOTIFICATION>() == 0x30);

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `EventCategoryData` is a class for `EventCategoryDeviceInterfaceChange`, and a file object for
    /// `EventCategoryTargetDeviceChange`.
    pub fn IoRegisterPlugPlayNotification(
        EventCategory: i32,
        EventCategoryFlags: u32,
        EventCategoryData: *mut c_void,
        DriverObject: *mut DRIVER_OBJECT,
        CallbackRoutine: PDRIVER_NOTIFICATION_CALLBACK_ROUTINE,
        Context: *mut c_void,
        NotificationEntry: *mut *mut c_void,
    ) -> NTSTATUS;
    /// The routine may still be called after this one has returned.
    pub fn IoUnregisterPlugPlayNotification(NotificationEntry: *mut c_void) -> NTSTATUS;
    pub fn IoUnregisterPlugPlayNotificationEx(NotificationEntry: *mut c_void) -> NTSTATUS;
}
