//! The registry: keys, their values, and the routines of the run-time library that take a key as a root and a path.

use core::ffi::c_void;

use crate::{HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, UNICODE_STRING};

pub type PRTL_QUERY_REGISTRY_ROUTINE = Option<
    unsafe extern "C" fn(
        ValueName: *mut u16,
        ValueType: u32,
        ValueData: *mut c_void,
        ValueLength: u32,
        Context: *mut c_void,
        EntryContext: *mut c_void,
    ) -> NTSTATUS,
>;

/// An entry of the table of `RtlQueryRegistryValues`. The table ends with an entry without a routine and a name.
#[repr(C)]
pub struct RTL_QUERY_REGISTRY_TABLE {
    pub QueryRoutine: PRTL_QUERY_REGISTRY_ROUTINE,
    pub Flags: u32,
    pub Name: *mut u16,
    pub EntryContext: *mut c_void,
    pub DefaultType: u32,
    pub DefaultData: *mut c_void,
    pub DefaultLength: u32,
}

pub const RTL_QUERY_REGISTRY_SUBKEY: u32 = 0x1;
pub const RTL_QUERY_REGISTRY_TOPKEY: u32 = 0x2;
pub const RTL_QUERY_REGISTRY_REQUIRED: u32 = 0x4;
pub const RTL_QUERY_REGISTRY_NOVALUE: u32 = 0x8;
pub const RTL_QUERY_REGISTRY_NOEXPAND: u32 = 0x10;
pub const RTL_QUERY_REGISTRY_DIRECT: u32 = 0x20;
pub const RTL_QUERY_REGISTRY_DELETE: u32 = 0x40;
pub const RTL_QUERY_REGISTRY_TYPECHECK: u32 = 0x100;

/// The roots that a path can be relative to.
pub const RTL_REGISTRY_ABSOLUTE: u32 = 0;
pub const RTL_REGISTRY_SERVICES: u32 = 1;
pub const RTL_REGISTRY_CONTROL: u32 = 2;
/// The path is a handle.
pub const RTL_REGISTRY_HANDLE: u32 = 0x4000_0000;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `Class` and `Disposition` may be NULL.
    pub fn ZwCreateKey(
        KeyHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
        TitleIndex: u32,
        Class: *mut UNICODE_STRING,
        CreateOptions: u32,
        Disposition: *mut u32,
    ) -> NTSTATUS;
    pub fn ZwDeleteKey(KeyHandle: HANDLE) -> NTSTATUS;
    pub fn ZwDeleteValueKey(KeyHandle: HANDLE, ValueName: *mut UNICODE_STRING) -> NTSTATUS;
    /// `KeyInformationClass` is a `KEY_INFORMATION_CLASS`.
    pub fn ZwEnumerateKey(
        KeyHandle: HANDLE,
        Index: u32,
        KeyInformationClass: i32,
        KeyInformation: *mut c_void,
        Length: u32,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
    pub fn ZwEnumerateValueKey(
        KeyHandle: HANDLE,
        Index: u32,
        KeyValueInformationClass: i32,
        KeyValueInformation: *mut c_void,
        Length: u32,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
    pub fn ZwFlushKey(KeyHandle: HANDLE) -> NTSTATUS;
    pub fn ZwQueryKey(
        KeyHandle: HANDLE,
        KeyInformationClass: i32,
        KeyInformation: *mut c_void,
        Length: u32,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
    /// `ValueName` may be NULL.
    pub fn ZwSetValueKey(
        KeyHandle: HANDLE,
        ValueName: *mut UNICODE_STRING,
        TitleIndex: u32,
        Type: u32,
        Data: *mut c_void,
        DataSize: u32,
    ) -> NTSTATUS;
    pub fn IoOpenDeviceInterfaceRegistryKey(
        SymbolicLinkName: *mut UNICODE_STRING,
        DesiredAccess: u32,
        DeviceInterfaceRegKey: *mut HANDLE,
    ) -> NTSTATUS;
    pub fn RtlCheckRegistryKey(RelativeTo: u32, Path: *mut u16) -> NTSTATUS;
    pub fn RtlCreateRegistryKey(RelativeTo: u32, Path: *mut u16) -> NTSTATUS;
    pub fn RtlDeleteRegistryValue(
        RelativeTo: u32,
        Path: *const u16,
        ValueName: *const u16,
    ) -> NTSTATUS;
    /// `Context` and `Environment` may be NULL.
    pub fn RtlQueryRegistryValues(
        RelativeTo: u32,
        Path: *const u16,
        QueryTable: *mut RTL_QUERY_REGISTRY_TABLE,
        Context: *mut c_void,
        Environment: *mut c_void,
    ) -> NTSTATUS;
    pub fn RtlWriteRegistryValue(
        RelativeTo: u32,
        Path: *const u16,
        ValueName: *const u16,
        ValueType: u32,
        ValueData: *mut c_void,
        ValueLength: u32,
    ) -> NTSTATUS;
}
