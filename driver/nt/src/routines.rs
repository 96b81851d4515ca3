//! Routines that `wdk-sys` declares too.
//!
//! They are declared here because of the `link` attribute: it tells the compiler that `ntoskrnl.exe` exports them, so
//! that it calls through the import table, as a C driver does. A call of a declaration without the attribute goes
//! through a jump that the linker adds.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

use core::ffi::{c_char, c_void};

use crate::{
    _EVENT_TYPE, _KEY_VALUE_INFORMATION_CLASS, _KWAIT_REASON, DEVICE_OBJECT, DRIVER_OBJECT, GUID,
    HANDLE, IO_REMOVE_LOCK, IRP, KEVENT, KSPIN_LOCK, NTSTATUS, OBJECT_ATTRIBUTES, UNICODE_STRING,
};

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn DbgPrint(Format: *const c_char, ...) -> u32;
    pub fn DbgPrintEx(ComponentId: u32, Level: u32, Format: *const c_char, ...) -> u32;

    pub fn IoAcquireCancelSpinLock(Irql: *mut u8);
    pub fn IoReleaseCancelSpinLock(Irql: u8);

    pub fn IoInitializeRemoveLockEx(
        Lock: *mut IO_REMOVE_LOCK,
        AllocateTag: u32,
        MaxLockedMinutes: u32,
        HighWatermark: u32,
        RemlockSize: u32,
    );
    pub fn IoAcquireRemoveLockEx(
        RemoveLock: *mut IO_REMOVE_LOCK,
        Tag: *mut c_void,
        File: *const c_char,
        Line: u32,
        RemlockSize: u32,
    ) -> NTSTATUS;
    pub fn IoReleaseRemoveLockEx(
        RemoveLock: *mut IO_REMOVE_LOCK,
        Tag: *mut c_void,
        RemlockSize: u32,
    );
    pub fn IoReleaseRemoveLockAndWaitEx(
        RemoveLock: *mut IO_REMOVE_LOCK,
        Tag: *mut c_void,
        RemlockSize: u32,
    );

    pub fn IoCreateDevice(
        DriverObject: *mut DRIVER_OBJECT,
        DeviceExtensionSize: u32,
        DeviceName: *mut UNICODE_STRING,
        DeviceType: u32,
        DeviceCharacteristics: u32,
        Exclusive: u8,
        DeviceObject: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    pub fn IoDeleteDevice(DeviceObject: *mut DEVICE_OBJECT);
    pub fn IoAttachDeviceToDeviceStack(
        SourceDevice: *mut DEVICE_OBJECT,
        TargetDevice: *mut DEVICE_OBJECT,
    ) -> *mut DEVICE_OBJECT;
    pub fn IoDetachDevice(TargetDevice: *mut DEVICE_OBJECT);
    pub fn IoRegisterDeviceInterface(
        PhysicalDeviceObject: *mut DEVICE_OBJECT,
        InterfaceClassGuid: *const GUID,
        ReferenceString: *mut UNICODE_STRING,
        SymbolicLinkName: *mut UNICODE_STRING,
    ) -> NTSTATUS;
    pub fn IoSetDeviceInterfaceState(SymbolicLinkName: *mut UNICODE_STRING, Enable: u8)
    -> NTSTATUS;
    pub fn IoOpenDeviceRegistryKey(
        DeviceObject: *mut DEVICE_OBJECT,
        DevInstKeyType: u32,
        DesiredAccess: u32,
        DeviceRegKey: *mut HANDLE,
    ) -> NTSTATUS;

    pub fn IofCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    pub fn IofCompleteRequest(Irp: *mut IRP, PriorityBoost: i8);

    pub fn KeAcquireSpinLockRaiseToDpc(SpinLock: *mut KSPIN_LOCK) -> u8;
    pub fn KeReleaseSpinLock(SpinLock: *mut KSPIN_LOCK, NewIrql: u8);
    pub fn KeAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK);
    pub fn KeReleaseSpinLockFromDpcLevel(SpinLock: *mut KSPIN_LOCK);

    pub fn KeInitializeEvent(Event: *mut KEVENT, Type: _EVENT_TYPE::Type, State: u8);
    pub fn KeSetEvent(Event: *mut KEVENT, Increment: i32, Wait: u8) -> i32;
    pub fn KeWaitForSingleObject(
        Object: *mut c_void,
        WaitReason: _KWAIT_REASON::Type,
        WaitMode: i8,
        Alertable: u8,
        Timeout: *mut i64,
    ) -> NTSTATUS;
    pub fn KeBugCheckEx(
        BugCheckCode: u32,
        BugCheckParameter1: u64,
        BugCheckParameter2: u64,
        BugCheckParameter3: u64,
        BugCheckParameter4: u64,
    ) -> !;

    pub fn RtlFreeUnicodeString(UnicodeString: *mut UNICODE_STRING);
    pub fn ZwClose(Handle: HANDLE) -> NTSTATUS;
    pub fn ZwOpenKey(
        KeyHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
    ) -> NTSTATUS;
    pub fn ZwQueryValueKey(
        KeyHandle: HANDLE,
        ValueName: *mut UNICODE_STRING,
        KeyValueInformationClass: _KEY_VALUE_INFORMATION_CLASS::Type,
        KeyValueInformation: *mut c_void,
        Length: u32,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
}
