//! Executive support (`Ex`): interlocked lists and variables, zones, pool.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

mod callback;
mod events;
pub mod interlocked;
mod lookaside;
mod pool_lookaside;
mod resource;
mod trace;

pub use callback::*;
pub use events::*;
pub use lookaside::*;
pub use pool_lookaside::*;
pub use resource::*;
pub use trace::*;

use core::ffi::c_void;

use crate::{KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS};

/// An entry or the head of a singly linked list.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SINGLE_LIST_ENTRY {
    pub Next: *mut SINGLE_LIST_ENTRY,
}

/// A zone: blocks of one size, in segments that the caller provides.
#[repr(C)]
pub struct ZONE_HEADER {
    pub FreeList: SINGLE_LIST_ENTRY,
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub BlockSize: u32,
    pub TotalSegmentSize: u32,
}

/// The header at the start of each segment of a zone.
#[repr(C)]
pub struct ZONE_SEGMENT_HEADER {
    pub SegmentList: SINGLE_LIST_ENTRY,
    pub Reserved: *mut c_void,
}

/// A fast mutex.
#[repr(C)]
pub struct FAST_MUTEX {
    pub Count: i32,
    pub Owner: *mut c_void,
    pub Contention: u32,
    pub Event: KEVENT,
    pub OldIrql: u32,
}

/// A reader/writer spin lock, which is not held if it is zero.
pub type EX_SPIN_LOCK = i32;

/// The run-down reference count of an object.
#[repr(C)]
pub struct EX_RUNDOWN_REF {
    pub Count: usize,
}

/// An entry of a sequenced list.
#[repr(C, align(16))]
pub struct SLIST_ENTRY {
    pub Next: *mut SLIST_ENTRY,
}

/// The head of a sequenced list. Its contents are opaque.
#[repr(C, align(16))]
pub struct SLIST_HEADER {
    pub Reserved: [u64; 2],
}

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
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
    /// As `ExAllocatePoolWithTag`, with a tag that all callers share.
    pub fn ExAllocatePool(PoolType: i32, NumberOfBytes: usize) -> *mut c_void;
    pub fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    /// `PoolType` is a `POOL_TYPE`. The block is not zeroed.
    pub fn ExAllocatePoolWithTag(PoolType: i32, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    /// As `ExAllocatePoolWithTag`. An exception is raised if it fails, unless `POOL_QUOTA_FAIL_INSTEAD_OF_RAISE` is given.
    pub fn ExAllocatePoolWithQuotaTag(PoolType: i32, NumberOfBytes: usize, Tag: u32)
    -> *mut c_void;
    /// As `ExAllocatePoolWithTag`. `Priority` is an `EX_POOL_PRIORITY`.
    pub fn ExAllocatePoolWithTagPriority(
        PoolType: i32,
        NumberOfBytes: usize,
        Tag: u32,
        Priority: i32,
    ) -> *mut c_void;
    pub fn ExIsProcessorFeaturePresent(ProcessorFeature: u32) -> u8;
    pub fn ExFreePool(P: *mut c_void);
    /// `QueueType` is a `WORK_QUEUE_TYPE`.
    pub fn ExQueueWorkItem(WorkItem: *mut WORK_QUEUE_ITEM, QueueType: i32);
    /// Both times are `LARGE_INTEGER`s.
    pub fn ExSystemTimeToLocalTime(SystemTime: *const i64, LocalTime: *mut i64);
    pub fn ExLocalTimeToSystemTime(LocalTime: *const i64, SystemTime: *mut i64);
    pub fn ExFreePoolWithTag(P: *mut c_void, Tag: u32);
    pub fn ExInterlockedAddUlong(Addend: *mut u32, Increment: u32, Lock: *mut KSPIN_LOCK) -> u32;
    /// `Increment` and the result are `LARGE_INTEGER`s, which are passed and returned like an `i64`.
    pub fn ExInterlockedAddLargeInteger(
        Addend: *mut i64,
        Increment: i64,
        Lock: *mut KSPIN_LOCK,
    ) -> i64;

    pub fn ExAcquireFastMutex(FastMutex: *mut FAST_MUTEX);
    pub fn ExTryToAcquireFastMutex(FastMutex: *mut FAST_MUTEX) -> u8;
    pub fn ExReleaseFastMutex(FastMutex: *mut FAST_MUTEX);
    /// Does not change the IRQL: the caller has disabled APCs.
    pub fn ExAcquireFastMutexUnsafe(FastMutex: *mut FAST_MUTEX);
    pub fn ExReleaseFastMutexUnsafe(FastMutex: *mut FAST_MUTEX);

    /// A guarded mutex (`KGUARDED_MUTEX`) is a fast mutex since Windows 8.
    pub fn KeInitializeGuardedMutex(Mutex: *mut FAST_MUTEX);
    pub fn KeAcquireGuardedMutex(Mutex: *mut FAST_MUTEX);
    pub fn KeTryToAcquireGuardedMutex(Mutex: *mut FAST_MUTEX) -> u8;
    pub fn KeReleaseGuardedMutex(Mutex: *mut FAST_MUTEX);
    /// Does not disable APCs: the caller has disabled them.
    pub fn KeAcquireGuardedMutexUnsafe(Mutex: *mut FAST_MUTEX);
    pub fn KeReleaseGuardedMutexUnsafe(Mutex: *mut FAST_MUTEX);

    pub fn ExAcquireSpinLockShared(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExReleaseSpinLockShared(SpinLock: *mut EX_SPIN_LOCK, OldIrql: u8);
    pub fn ExAcquireSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExReleaseSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK, OldIrql: u8);
    pub fn ExAcquireSpinLockSharedAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    pub fn ExReleaseSpinLockSharedFromDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    pub fn ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    pub fn ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    pub fn ExTryAcquireSpinLockSharedAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExTryAcquireSpinLockExclusiveAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExTryConvertSharedSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK) -> u8;

    pub fn ExInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExReInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExAcquireRundownProtection(RunRef: *mut EX_RUNDOWN_REF) -> u8;
    pub fn ExReleaseRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExAcquireRundownProtectionEx(RunRef: *mut EX_RUNDOWN_REF, Count: u32) -> u8;
    pub fn ExReleaseRundownProtectionEx(RunRef: *mut EX_RUNDOWN_REF, Count: u32);
    pub fn ExRundownCompleted(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExWaitForRundownProtectionRelease(RunRef: *mut EX_RUNDOWN_REF);

    /// Returns a `KPROCESSOR_MODE`.
    pub fn ExGetPreviousMode() -> i8;

    /// An exception is raised if the buffer is not in user mode's part of the address space. `Alignment` is in bytes.
    pub fn ProbeForRead(Address: *const c_void, Length: usize, Alignment: u32);
    /// As `ProbeForRead`, and if a page cannot be written.
    pub fn ProbeForWrite(Address: *mut c_void, Length: usize, Alignment: u32);

    /// The type of event objects. In C it is `*ExEventObjectType`: there the name is the slot of the import, while this is the
    /// kernel's variable, to which the slot points.
    pub static ExEventObjectType: *mut c_void;

    /// The routine that the macro `InterlockedPushEntrySList` calls.
    pub fn ExpInterlockedPushEntrySList(
        ListHead: *mut SLIST_HEADER,
        ListEntry: *mut SLIST_ENTRY,
    ) -> *mut SLIST_ENTRY;
    /// The routine that the macro `InterlockedPopEntrySList` calls.
    pub fn ExpInterlockedPopEntrySList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    /// The routine that the macro `InterlockedFlushSList` calls.
    pub fn ExpInterlockedFlushSList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    pub fn ExQueryDepthSList(SListHead: *mut SLIST_HEADER) -> u16;
}

/// A work item of `ExQueueWorkItem`.
#[repr(C)]
pub struct WORK_QUEUE_ITEM {
    pub List: LIST_ENTRY,
    pub WorkerRoutine: Option<unsafe extern "C" fn(Parameter: *mut c_void)>,
    pub Parameter: *mut c_void,
}

/// Initialises a fast mutex that is not held, like the WDK's inline function.
///
/// # Safety
/// `mutex` is valid for writes, and no other code uses it.
pub unsafe fn ExInitializeFastMutex(mutex: *mut FAST_MUTEX) {
    // SAFETY: the caller passes a mutex that is valid for writes, and zero is valid for every field.
    unsafe { mutex.write_bytes(0, 1) };
    // SAFETY: as above.
    unsafe { (*mutex).Count = 1 };
    // SAFETY: only the address is computed, inside the mutex.
    let event = unsafe { &raw mut (*mutex).Event };
    // SAFETY: the event is inside the mutex, which the caller passes.
    unsafe { crate::KeInitializeEvent(event, crate::_EVENT_TYPE::SynchronizationEvent, 0) };
}

/// Initialises an empty sequenced list, like the WDK's inline function.
///
/// # Safety
/// `head` is valid for writes, and no other code uses it.
pub unsafe fn InitializeSListHead(head: *mut SLIST_HEADER) {
    // SAFETY: the caller passes a head that is valid for writes.
    unsafe { head.write(SLIST_HEADER { Reserved: [0; 2] }) };
}
