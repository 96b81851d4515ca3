//! Routines that are called when a process or a thread starts or ends, or when an image is loaded.

use core::ffi::c_void;

use crate::{FILE_OBJECT, HANDLE, NTSTATUS, UNICODE_STRING};

pub type PCREATE_PROCESS_NOTIFY_ROUTINE =
    Option<unsafe extern "C" fn(ParentId: HANDLE, ProcessId: HANDLE, Create: u8)>;

/// `Process` is a `PEPROCESS`. `CreateInfo` is NULL if the process ends.
pub type PCREATE_PROCESS_NOTIFY_ROUTINE_EX = Option<
    unsafe extern "C" fn(
        Process: *mut c_void,
        ProcessId: HANDLE,
        CreateInfo: *mut PS_CREATE_NOTIFY_INFO,
    ),
>;

pub type PCREATE_THREAD_NOTIFY_ROUTINE =
    Option<unsafe extern "C" fn(ProcessId: HANDLE, ThreadId: HANDLE, Create: u8)>;

/// `FullImageName` may be NULL. `ProcessId` is zero for a driver's image.
pub type PLOAD_IMAGE_NOTIFY_ROUTINE = Option<
    unsafe extern "C" fn(
        FullImageName: *mut UNICODE_STRING,
        ProcessId: HANDLE,
        ImageInfo: *mut IMAGE_INFO,
    ),
>;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct CLIENT_ID {
    pub UniqueProcess: HANDLE,
    pub UniqueThread: HANDLE,
}

#[repr(C)]
pub struct PS_CREATE_NOTIFY_INFO {
    pub Size: usize,
    /// `FileOpenNameAvailable` is bit 0, and `IsSubsystemProcess` bit 1.
    pub Flags: u32,
    pub ParentProcessId: HANDLE,
    pub CreatingThreadId: CLIENT_ID,
    pub FileObject: *mut FILE_OBJECT,
    pub ImageFileName: *const UNICODE_STRING,
    pub CommandLine: *const UNICODE_STRING,
    /// An error prevents the creation of the process.
    pub CreationStatus: NTSTATUS,
}

const _: () = assert!(size_of::<PS_CREATE_NOTIFY_INFO>() == 0x48);

#[repr(C)]
pub struct IMAGE_INFO {
    /// `ImageAddressingMode` is in the low byte, and `SystemModeImage` bit 8.
    pub Properties: u32,
    pub ImageBase: *mut c_void,
    pub ImageSelector: u32,
    pub ImageSize: usize,
    pub ImageSectionNumber: u32,
}

const _: () = assert!(size_of::<IMAGE_INFO>() == 0x28);

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn PsSetCreateProcessNotifyRoutine(
        NotifyRoutine: PCREATE_PROCESS_NOTIFY_ROUTINE,
        Remove: u8,
    ) -> NTSTATUS;
    pub fn PsSetCreateProcessNotifyRoutineEx(
        NotifyRoutine: PCREATE_PROCESS_NOTIFY_ROUTINE_EX,
        Remove: u8,
    ) -> NTSTATUS;
    pub fn PsSetCreateThreadNotifyRoutine(NotifyRoutine: PCREATE_THREAD_NOTIFY_ROUTINE)
    -> NTSTATUS;
    pub fn PsRemoveCreateThreadNotifyRoutine(
        NotifyRoutine: PCREATE_THREAD_NOTIFY_ROUTINE,
    ) -> NTSTATUS;
    pub fn PsSetLoadImageNotifyRoutine(NotifyRoutine: PLOAD_IMAGE_NOTIFY_ROUTINE) -> NTSTATUS;
    pub fn PsRemoveLoadImageNotifyRoutine(NotifyRoutine: PLOAD_IMAGE_NOTIFY_ROUTINE) -> NTSTATUS;
}
