//! The kernel core (`Ke`): IRQL, spin locks, device queues, DPCs, timers, processors, events and waits.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

mod debugger;
pub(crate) mod irql;
mod processors;
mod time;

pub use debugger::*;
pub use processors::*;
pub use time::*;

use core::ffi::c_void;

use crate::{KEVENT, KSPIN_LOCK, NTSTATUS};

/// A device queue. Its contents are opaque.
#[repr(C)]
pub struct KDEVICE_QUEUE {
    pub Reserved: [u64; 5],
}

/// The entry of a request in a device queue. Its contents are opaque.
#[repr(C)]
pub struct KDEVICE_QUEUE_ENTRY {
    pub Reserved: [u64; 3],
}

/// A DPC object. Its contents are opaque.
#[repr(C)]
pub struct KDPC {
    pub Reserved: [u64; 8],
}

/// A timer object. Its contents are opaque.
#[repr(C)]
pub struct KTIMER {
    pub Reserved: [u64; 8],
}

/// The handle of the holder of an in-stack queued spin lock. Its contents are opaque.
#[repr(C)]
pub struct KLOCK_QUEUE_HANDLE {
    pub Reserved: [u64; 3],
}

/// A mutex object. Its contents are opaque.
#[repr(C)]
pub struct KMUTEX {
    pub Reserved: [u64; 7],
}

/// A semaphore object. Its contents are opaque.
#[repr(C)]
pub struct KSEMAPHORE {
    pub Reserved: [u64; 4],
}

/// Memory for the kernel's record of one object of a wait. Its contents are opaque.
#[repr(C)]
pub struct KWAIT_BLOCK {
    pub Reserved: [u64; 6],
}

/// The maximum number of objects of a wait, and the number for which the thread has memory.
pub const MAXIMUM_WAIT_OBJECTS: u32 = 64;
pub const THREAD_WAIT_OBJECTS: u32 = 3;

/// The `WAIT_TYPE` of a wait for every object, or for any.
pub const WaitAll: i32 = 0;
pub const WaitAny: i32 = 1;

pub type PKDEFERRED_ROUTINE = Option<
    unsafe extern "C" fn(
        Dpc: *mut KDPC,
        DeferredContext: *mut c_void,
        SystemArgument1: *mut c_void,
        SystemArgument2: *mut c_void,
    ),
>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// An export since Windows 8. Headers that support older systems make it an inline function, so not every set of
    /// bindings has it.
    pub fn KeInitializeSpinLock(SpinLock: *mut KSPIN_LOCK);
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
    pub fn KeInitializeDpc(
        Dpc: *mut KDPC,
        DeferredRoutine: PKDEFERRED_ROUTINE,
        DeferredContext: *mut c_void,
    );
    pub fn KeInitializeThreadedDpc(
        Dpc: *mut KDPC,
        DeferredRoutine: PKDEFERRED_ROUTINE,
        DeferredContext: *mut c_void,
    );
    /// Acquires a lock in a threaded DPC, at `PASSIVE_LEVEL` or `DISPATCH_LEVEL`.
    pub fn KeAcquireSpinLockForDpc(SpinLock: *mut KSPIN_LOCK) -> u8;
    pub fn KeReleaseSpinLockForDpc(SpinLock: *mut KSPIN_LOCK, OldIrql: u8);
    /// `Importance` is a `KDPC_IMPORTANCE`.
    pub fn KeSetImportanceDpc(Dpc: *mut KDPC, Importance: i32);
    pub fn KeSetTargetProcessorDpc(Dpc: *mut KDPC, Number: i8);
    /// `ProcNumber` is a `PPROCESSOR_NUMBER`.
    pub fn KeSetTargetProcessorDpcEx(Dpc: *mut KDPC, ProcNumber: *mut c_void) -> NTSTATUS;
    pub fn KeInsertQueueDpc(
        Dpc: *mut KDPC,
        SystemArgument1: *mut c_void,
        SystemArgument2: *mut c_void,
    ) -> u8;
    pub fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> u8;
    pub fn KeFlushQueuedDpcs();
    pub fn KeInitializeTimer(Timer: *mut KTIMER);
    pub fn KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32);
    /// `DueTime` is a `LARGE_INTEGER`, which is passed by value like an `i64`.
    pub fn KeSetTimer(Timer: *mut KTIMER, DueTime: i64, Dpc: *mut KDPC) -> u8;
    pub fn KeCancelTimer(Timer: *mut KTIMER) -> u8;
    pub fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut c_void) -> u32;
    pub fn KeQueryMaximumProcessorCountEx(GroupNumber: u16) -> u32;
    pub fn KeDelayExecutionThread(WaitMode: i8, Alertable: u8, Interval: *mut i64) -> NTSTATUS;
    pub fn KeReadStateTimer(Timer: *mut KTIMER) -> u8;
    pub fn KeClearEvent(Event: *mut KEVENT);

    pub fn KeInitializeMutex(Mutex: *mut KMUTEX, Level: u32);
    pub fn KeReleaseMutex(Mutex: *mut KMUTEX, Wait: u8) -> i32;
    pub fn KeReadStateMutex(Mutex: *mut KMUTEX) -> i32;

    pub fn KeInitializeSemaphore(Semaphore: *mut KSEMAPHORE, Count: i32, Limit: i32);
    pub fn KeReleaseSemaphore(
        Semaphore: *mut KSEMAPHORE,
        Increment: i32,
        Adjustment: i32,
        Wait: u8,
    ) -> i32;
    pub fn KeReadStateSemaphore(Semaphore: *mut KSEMAPHORE) -> i32;

    pub fn KeResetEvent(Event: *mut KEVENT) -> i32;
    pub fn KePulseEvent(Event: *mut KEVENT, Increment: i32, Wait: u8) -> i32;
    pub fn KeReadStateEvent(Event: *mut KEVENT) -> i32;
    pub fn KeEnterGuardedRegion();
    pub fn KeLeaveGuardedRegion();
    pub fn KeAreApcsDisabled() -> u8;
    pub fn KeAreAllApcsDisabled() -> u8;
    /// `ActiveProcessors` is a `KAFFINITY`, and may be NULL.
    pub fn KeQueryActiveProcessorCount(ActiveProcessors: *mut usize) -> u32;
    pub fn KeQueryActiveProcessorCountEx(GroupNumber: u16) -> u32;
    /// `DueTime` is a `LARGE_INTEGER`, which is passed by value like an `i64`.
    pub fn KeSetCoalescableTimer(
        Timer: *mut KTIMER,
        DueTime: i64,
        Period: u32,
        TolerableDelay: u32,
        Dpc: *mut KDPC,
    ) -> u8;
    pub fn KeEnterCriticalRegion();
    pub fn KeLeaveCriticalRegion();
    /// `Thread` is a `PKTHREAD`.
    pub fn KeQueryPriorityThread(Thread: *mut c_void) -> i32;
    /// `Thread` is a `PKTHREAD`.
    pub fn KeSetPriorityThread(Thread: *mut c_void, Priority: i32) -> i32;
    /// `Timeout` and `WaitBlockArray` may be NULL.
    pub fn KeWaitForMultipleObjects(
        Count: u32,
        Object: *mut *mut c_void,
        WaitType: i32,
        WaitReason: i32,
        WaitMode: i8,
        Alertable: u8,
        Timeout: *mut i64,
        WaitBlockArray: *mut KWAIT_BLOCK,
    ) -> NTSTATUS;
    /// `DueTime` is a `LARGE_INTEGER`, which is passed by value like an `i64`.
    pub fn KeSetTimerEx(Timer: *mut KTIMER, DueTime: i64, Period: i32, Dpc: *mut KDPC) -> u8;
}

#[cfg_attr(feature = "wdk", link(name = "hal"))]
unsafe extern "C" {
    /// Returns a `LARGE_INTEGER`, which is returned like an `i64`.
    pub fn KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64;
    pub fn KeStallExecutionProcessor(MicroSeconds: u32);
}
