//! Callback objects.

use core::ffi::c_void;

use crate::{NTSTATUS, OBJECT_ATTRIBUTES};

pub type PCALLBACK_FUNCTION = Option<
    unsafe extern "C" fn(
        CallbackContext: *mut c_void,
        Argument1: *mut c_void,
        Argument2: *mut c_void,
    ),
>;

/// A pointer to a callback object, which is opaque.
pub type PCALLBACK_OBJECT = *mut c_void;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// The attributes have a name. The driver releases the object with `ObDereferenceObject`.
    pub fn ExCreateCallback(
        CallbackObject: *mut PCALLBACK_OBJECT,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
        Create: u8,
        AllowMultipleCallbacks: u8,
    ) -> NTSTATUS;
    /// Returns NULL if the object allows one routine and has it.
    pub fn ExRegisterCallback(
        CallbackObject: PCALLBACK_OBJECT,
        CallbackFunction: PCALLBACK_FUNCTION,
        CallbackContext: *mut c_void,
    ) -> *mut c_void;
    pub fn ExUnregisterCallback(CallbackRegistration: *mut c_void);
    pub fn ExNotifyCallback(
        CallbackObject: *mut c_void,
        Argument1: *mut c_void,
        Argument2: *mut c_void,
    );
}
