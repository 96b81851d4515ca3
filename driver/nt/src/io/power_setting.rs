//! Routines that are called when a power setting changes.

use core::ffi::c_void;

use crate::{DEVICE_OBJECT, GUID, NTSTATUS};

pub type PPOWER_SETTING_CALLBACK = Option<
    unsafe extern "C" fn(
        SettingGuid: *const GUID,
        Value: *mut c_void,
        ValueLength: u32,
        Context: *mut c_void,
    ) -> NTSTATUS,
>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `DeviceObject` may be NULL. The routine can be called before this one returns.
    pub fn PoRegisterPowerSettingCallback(
        DeviceObject: *mut DEVICE_OBJECT,
        SettingGuid: *const GUID,
        Callback: PPOWER_SETTING_CALLBACK,
        Context: *mut c_void,
        Handle: *mut *mut c_void,
    ) -> NTSTATUS;
    pub fn PoUnregisterPowerSettingCallback(Handle: *mut c_void) -> NTSTATUS;
}
