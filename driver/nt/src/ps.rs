//! Processes, threads (`Ps`), and references to objects and their security (`Ob`).

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

mod notify;

pub use notify::*;

use core::ffi::c_void;

use crate::{HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, UNICODE_STRING};

/// A pointer to a process, which is a `PEPROCESS` too.
pub type PRKPROCESS = *mut c_void;

/// The state of a thread before it was attached to a process, which is opaque.
#[repr(C)]
pub struct KAPC_STATE {
    pub Reserved: [u64; 6],
}

pub type PKSTART_ROUTINE = Option<unsafe extern "C" fn(StartContext: *mut c_void)>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn PsCreateSystemThread(
        ThreadHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
        ProcessHandle: HANDLE,
        ClientId: *mut c_void,
        StartRoutine: PKSTART_ROUTINE,
        StartContext: *mut c_void,
    ) -> NTSTATUS;
    /// `ApcState` is in nonpaged memory or on the stack.
    pub fn KeStackAttachProcess(Process: PRKPROCESS, ApcState: *mut KAPC_STATE);
    pub fn KeUnstackDetachProcess(ApcState: *mut KAPC_STATE);
    /// `PsGetCurrentProcess` is a macro for it. Returns a `PEPROCESS`.
    pub fn IoGetCurrentProcess() -> *mut c_void;
    pub fn PsGetCurrentProcessId() -> HANDLE;
    /// Returns a `PETHREAD`, which is a `PKTHREAD` too. `KeGetCurrentThread` is an inline function on x64.
    pub fn PsGetCurrentThread() -> *mut c_void;
    pub fn PsGetCurrentThreadId() -> HANDLE;
    /// `Process` is a `PEPROCESS`.
    pub fn PsGetProcessId(Process: *mut c_void) -> HANDLE;
    /// `Thread` is a `PETHREAD`.
    pub fn PsGetThreadId(Thread: *mut c_void) -> HANDLE;
    /// `Thread` is a `PETHREAD`.
    pub fn PsGetThreadProcessId(Thread: *mut c_void) -> HANDLE;
    /// `Thread` is a `PETHREAD`.
    pub fn PsIsSystemThread(Thread: *mut c_void) -> u8;
    /// The process of the system threads. In C it is `*PsInitialSystemProcess`.
    pub static PsInitialSystemProcess: *mut c_void;
    /// Each pointer may be NULL.
    pub fn PsGetVersion(
        MajorVersion: *mut u32,
        MinorVersion: *mut u32,
        BuildNumber: *mut u32,
        CSDVersion: *mut UNICODE_STRING,
    ) -> u8;
    pub fn PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS;
    pub fn ZwWaitForSingleObject(Handle: HANDLE, Alertable: u8, Timeout: *mut i64) -> NTSTATUS;
    /// Declared as `FASTCALL`, which is the common calling convention on 64-bit Windows.
    pub fn ObfReferenceObject(Object: *mut c_void) -> isize;
    /// Declared as `FASTCALL`, as above.
    pub fn ObfDereferenceObject(Object: *mut c_void) -> isize;
    /// `ObjectType` may be NULL if `AccessMode` is `KernelMode`.
    pub fn ObOpenObjectByPointer(
        Object: *mut c_void,
        HandleAttributes: u32,
        PassedAccessState: *mut c_void,
        DesiredAccess: u32,
        ObjectType: *mut c_void,
        AccessMode: i8,
        Handle: *mut HANDLE,
    ) -> NTSTATUS;
    /// `ObjectType` may be NULL if `AccessMode` is `KernelMode`.
    pub fn ObReferenceObjectByHandle(
        Handle: HANDLE,
        DesiredAccess: u32,
        ObjectType: *mut c_void,
        AccessMode: i8,
        Object: *mut *mut c_void,
        HandleInformation: *mut c_void,
    ) -> NTSTATUS;
    /// The types of objects. In C they are `*PsThreadType` and so on, as for `ExEventObjectType`.
    pub static PsThreadType: *mut c_void;
    pub static PsProcessType: *mut c_void;
    pub static IoFileObjectType: *mut c_void;
    pub static IoDeviceObjectType: *mut c_void;
    pub static IoDriverObjectType: *mut c_void;
    pub static SeTokenObjectType: *mut c_void;
    /// `ObjectType` may be NULL if `AccessMode` is `KernelMode`.
    pub fn ObReferenceObjectByPointer(
        Object: *mut c_void,
        DesiredAccess: u32,
        ObjectType: *mut c_void,
        AccessMode: i8,
    ) -> NTSTATUS;
    pub fn ZwSetSecurityObject(
        Handle: HANDLE,
        SecurityInformation: u32,
        SecurityDescriptor: *mut c_void,
    ) -> NTSTATUS;
}
