//! The types and routines from `wdk-sys`.

pub use wdk_sys::{
    _EVENT_TYPE, _KEY_VALUE_INFORMATION_CLASS, _KWAIT_REASON, DEVICE_OBJECT, DRIVER_EXTENSION,
    DRIVER_OBJECT, FILE_OBJECT, GUID, HANDLE, IO_REMOVE_LOCK, IO_STACK_LOCATION, IO_STATUS_BLOCK,
    IRP, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, OBJECT_ATTRIBUTES, PDRIVER_CANCEL,
    PDRIVER_DISPATCH, PIO_COMPLETION_ROUTINE, UNICODE_STRING,
    ntddk::{
        DbgPrintEx, IoAcquireCancelSpinLock, IoAcquireRemoveLockEx, IoAttachDeviceToDeviceStack,
        IoCreateDevice, IoDeleteDevice, IoDetachDevice, IoInitializeRemoveLockEx,
        IoRegisterDeviceInterface, IoReleaseCancelSpinLock, IoReleaseRemoveLockAndWaitEx,
        IoReleaseRemoveLockEx, IoSetDeviceInterfaceState, IofCallDriver, IofCompleteRequest,
        KeAcquireSpinLockAtDpcLevel, KeAcquireSpinLockRaiseToDpc, KeInitializeEvent,
        KeReleaseSpinLock, KeReleaseSpinLockFromDpcLevel, KeSetEvent, KeWaitForSingleObject,
        RtlFreeUnicodeString, ZwClose, ZwOpenKey, ZwQueryValueKey,
    },
};

unsafe extern "C" {
    /// Stops the system. Declared here, since some sets of bindings do not declare that it never returns.
    pub fn KeBugCheckEx(
        BugCheckCode: u32,
        BugCheckParameter1: u64,
        BugCheckParameter2: u64,
        BugCheckParameter3: u64,
        BugCheckParameter4: u64,
    ) -> !;
}
