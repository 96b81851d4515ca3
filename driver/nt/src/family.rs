//! The family's own types and routines: queued spin locks, interlocked lists, zones, device queues, DPCs
//! and timers, threads and processors, work items and references to objects.
//!
//! Headers disagree about which of them are inlines, which need `ntifs.h`, and which are documented. The
//! WDK's import libraries for 64-bit Windows hold all of them, so they are declared here once for every set
//! of bindings, and `layout` asserts the sizes of what the kernel keeps in them.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

use core::ffi::c_void;

use crate::{DEVICE_OBJECT, HANDLE, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, OBJECT_ATTRIBUTES};

/// A node of a singly linked list, and such a list's head.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SINGLE_LIST_ENTRY {
    pub Next: *mut SINGLE_LIST_ENTRY,
}

/// A zone: blocks of one size, cut from segments that the caller gives.
#[repr(C)]
pub struct ZONE_HEADER {
    pub FreeList: SINGLE_LIST_ENTRY,
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub BlockSize: u32,
    pub TotalSegmentSize: u32,
}

/// What a zone keeps at the start of each segment.
#[repr(C)]
pub struct ZONE_SEGMENT_HEADER {
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub Reserved: *mut c_void,
}

/// A device queue. The kernel's, but for its size.
#[repr(C)]
pub struct KDEVICE_QUEUE {
    pub Reserved: [u64; 5],
}

/// What links a request into a device queue. The kernel's, but for its size.
#[repr(C)]
pub struct KDEVICE_QUEUE_ENTRY {
    pub Reserved: [u64; 3],
}

/// A DPC. The kernel's, but for its size.
#[repr(C)]
pub struct KDPC {
    pub Reserved: [u64; 8],
}

/// A timer. The kernel's, but for its size.
#[repr(C)]
pub struct KTIMER {
    pub Reserved: [u64; 8],
}

/// What the taker of an in-stack queued spin lock keeps while it has it. The kernel's, but for its size.
#[repr(C)]
pub struct KLOCK_QUEUE_HANDLE {
    pub Reserved: [u64; 3],
}

pub type PKDEFERRED_ROUTINE = Option<
    unsafe extern "C" fn(
        Dpc: *mut KDPC,
        DeferredContext: *mut c_void,
        SystemArgument1: *mut c_void,
        SystemArgument2: *mut c_void,
    ),
>;

/// A work item, which `IoAllocateWorkItem` makes. The kernel's, and its size is not documented.
#[repr(C)]
pub struct IO_WORKITEM {
    pub Reserved: [u64; 0],
}

pub type PIO_WORKITEM_ROUTINE =
    Option<unsafe extern "C" fn(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void)>;

/// The only `WORK_QUEUE_TYPE` that a driver may give to `IoQueueWorkItem`.
pub const DelayedWorkQueue: i32 = 1;

pub type PKSTART_ROUTINE = Option<unsafe extern "C" fn(StartContext: *mut c_void)>;

unsafe extern "C" {
    pub fn KeTryToAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK) -> u8;
    pub fn KeAcquireInStackQueuedSpinLock(
        SpinLock: *mut KSPIN_LOCK,
        LockHandle: *mut KLOCK_QUEUE_HANDLE,
    );
    pub fn KeReleaseInStackQueuedSpinLock(LockHandle: *mut KLOCK_QUEUE_HANDLE);
    pub fn KeAcquireInStackQueuedSpinLockAtDpcLevel(
        SpinLock: *mut KSPIN_LOCK,
        LockHandle: *mut KLOCK_QUEUE_HANDLE,
    );
    pub fn KeReleaseInStackQueuedSpinLockFromDpcLevel(LockHandle: *mut KLOCK_QUEUE_HANDLE);

    pub fn ExInterlockedInsertHeadList(
        ListHead: *mut LIST_ENTRY,
        ListEntry: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedInsertTailList(
        ListHead: *mut LIST_ENTRY,
        ListEntry: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedRemoveHeadList(
        ListHead: *mut LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut LIST_ENTRY;
    pub fn ExInterlockedPushEntryList(
        ListHead: *mut SINGLE_LIST_ENTRY,
        ListEntry: *mut SINGLE_LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut SINGLE_LIST_ENTRY;
    pub fn ExInterlockedPopEntryList(
        ListHead: *mut SINGLE_LIST_ENTRY,
        Lock: *mut KSPIN_LOCK,
    ) -> *mut SINGLE_LIST_ENTRY;

    pub fn ExInitializeZone(
        Zone: *mut ZONE_HEADER,
        BlockSize: u32,
        InitialSegment: *mut c_void,
        InitialSegmentSize: u32,
    ) -> NTSTATUS;
    pub fn ExExtendZone(Zone: *mut ZONE_HEADER, Segment: *mut c_void, SegmentSize: u32)
    -> NTSTATUS;
    pub fn ExInterlockedExtendZone(
        Zone: *mut ZONE_HEADER,
        Segment: *mut c_void,
        SegmentSize: u32,
        Lock: *mut KSPIN_LOCK,
    ) -> NTSTATUS;

    pub fn KeInitializeDeviceQueue(DeviceQueue: *mut KDEVICE_QUEUE);
    pub fn KeInsertDeviceQueue(
        DeviceQueue: *mut KDEVICE_QUEUE,
        DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
    ) -> u8;
    pub fn KeInsertByKeyDeviceQueue(
        DeviceQueue: *mut KDEVICE_QUEUE,
        DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
        SortKey: u32,
    ) -> u8;
    pub fn KeRemoveDeviceQueue(DeviceQueue: *mut KDEVICE_QUEUE) -> *mut KDEVICE_QUEUE_ENTRY;
    pub fn KeRemoveByKeyDeviceQueue(
        DeviceQueue: *mut KDEVICE_QUEUE,
        SortKey: u32,
    ) -> *mut KDEVICE_QUEUE_ENTRY;
    pub fn KeRemoveByKeyDeviceQueueIfBusy(
        DeviceQueue: *mut KDEVICE_QUEUE,
        SortKey: u32,
    ) -> *mut KDEVICE_QUEUE_ENTRY;
    pub fn KeRemoveEntryDeviceQueue(
        DeviceQueue: *mut KDEVICE_QUEUE,
        DeviceQueueEntry: *mut KDEVICE_QUEUE_ENTRY,
    ) -> u8;

    pub fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    pub fn ExFreePoolWithTag(P: *mut c_void, Tag: u32);

    pub fn ExInterlockedAddUlong(Addend: *mut u32, Increment: u32, Lock: *mut KSPIN_LOCK) -> u32;
    /// A `LARGE_INTEGER` travels in a register, as the number that it is.
    pub fn ExInterlockedAddLargeInteger(
        Addend: *mut i64,
        Increment: i64,
        Lock: *mut KSPIN_LOCK,
    ) -> i64;

    pub fn KeInitializeDpc(
        Dpc: *mut KDPC,
        DeferredRoutine: PKDEFERRED_ROUTINE,
        DeferredContext: *mut c_void,
    );
    pub fn KeInsertQueueDpc(
        Dpc: *mut KDPC,
        SystemArgument1: *mut c_void,
        SystemArgument2: *mut c_void,
    ) -> u8;
    pub fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> u8;
    pub fn KeFlushQueuedDpcs();

    pub fn KeInitializeTimer(Timer: *mut KTIMER);
    pub fn KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32);
    /// A `LARGE_INTEGER` travels in a register, as the number that it is.
    pub fn KeSetTimer(Timer: *mut KTIMER, DueTime: i64, Dpc: *mut KDPC) -> u8;
    pub fn KeCancelTimer(Timer: *mut KTIMER) -> u8;

    /// A `LARGE_INTEGER` comes back in a register, as the number that it is.
    pub fn KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64;
    pub fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut c_void) -> u32;
    pub fn KeQueryMaximumProcessorCountEx(GroupNumber: u16) -> u32;

    pub fn PsCreateSystemThread(
        ThreadHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut OBJECT_ATTRIBUTES,
        ProcessHandle: HANDLE,
        ClientId: *mut c_void,
        StartRoutine: PKSTART_ROUTINE,
        StartContext: *mut c_void,
    ) -> NTSTATUS;
    pub fn PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS;
    pub fn ZwWaitForSingleObject(Handle: HANDLE, Alertable: u8, Timeout: *mut i64) -> NTSTATUS;

    pub fn IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM;
    pub fn IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM);
    pub fn IoQueueWorkItem(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE,
        QueueType: i32,
        Context: *mut c_void,
    );

    /// A FASTCALL, which on 64-bit Windows is the one calling convention.
    pub fn ObfReferenceObject(Object: *mut c_void) -> isize;
    /// A FASTCALL, as above.
    pub fn ObfDereferenceObject(Object: *mut c_void) -> isize;

    pub fn KeDelayExecutionThread(WaitMode: i8, Alertable: u8, Interval: *mut i64) -> NTSTATUS;
    pub fn KeClearEvent(Event: *mut KEVENT);
}
