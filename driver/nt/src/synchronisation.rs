//! Mutexes, semaphores, fast mutexes, reader/writer spin locks, rundown protection and sequenced lists, of which the family has
//! none: declared as in `family`, for drivers that use them.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

use core::ffi::c_void;

use crate::{KDPC, KEVENT, KTIMER};

/// A mutex object. The kernel's, but for its size.
#[repr(C)]
pub struct KMUTEX {
    pub Reserved: [u64; 7],
}

/// A semaphore object. The kernel's, but for its size.
#[repr(C)]
pub struct KSEMAPHORE {
    pub Reserved: [u64; 4],
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

/// A reader/writer spin lock, which is free if it is zero.
pub type EX_SPIN_LOCK = i32;

/// What counts the accesses to an object that may be run down.
#[repr(C)]
pub struct EX_RUNDOWN_REF {
    pub Count: usize,
}

/// A node of a sequenced list.
#[repr(C, align(16))]
pub struct SLIST_ENTRY {
    pub Next: *mut SLIST_ENTRY,
}

/// A sequenced list. The kernel's, but for its size.
#[repr(C, align(16))]
pub struct SLIST_HEADER {
    pub Reserved: [u64; 2],
}

unsafe extern "C" {
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
    pub fn KeReadStateEvent(Event: *mut KEVENT) -> i32;
    /// A `LARGE_INTEGER` travels in a register, as the number that it is.
    pub fn KeSetTimerEx(Timer: *mut KTIMER, DueTime: i64, Period: i32, Dpc: *mut KDPC) -> u8;

    pub fn ExAcquireFastMutex(FastMutex: *mut FAST_MUTEX);
    pub fn ExTryToAcquireFastMutex(FastMutex: *mut FAST_MUTEX) -> u8;
    pub fn ExReleaseFastMutex(FastMutex: *mut FAST_MUTEX);

    pub fn ExAcquireSpinLockShared(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExReleaseSpinLockShared(SpinLock: *mut EX_SPIN_LOCK, OldIrql: u8);
    pub fn ExAcquireSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK) -> u8;
    pub fn ExReleaseSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK, OldIrql: u8);

    pub fn ExInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExReInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExAcquireRundownProtection(RunRef: *mut EX_RUNDOWN_REF) -> u8;
    pub fn ExReleaseRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    pub fn ExWaitForRundownProtectionRelease(RunRef: *mut EX_RUNDOWN_REF);

    /// What `InterlockedPushEntrySList` is a macro over.
    pub fn ExpInterlockedPushEntrySList(
        ListHead: *mut SLIST_HEADER,
        ListEntry: *mut SLIST_ENTRY,
    ) -> *mut SLIST_ENTRY;
    /// What `InterlockedPopEntrySList` is a macro over.
    pub fn ExpInterlockedPopEntrySList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    /// What `InterlockedFlushSList` is a macro over.
    pub fn ExpInterlockedFlushSList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    pub fn ExQueryDepthSList(SListHead: *mut SLIST_HEADER) -> u16;
}

/// Makes a fast mutex free, as the WDK's inline does.
///
/// # Safety
/// `mutex` is valid for writes, and nobody uses it.
pub unsafe fn ExInitializeFastMutex(mutex: *mut FAST_MUTEX) {
    // SAFETY: the caller gives a mutex that is valid for writes, and every field may be zero.
    unsafe { mutex.write_bytes(0, 1) };
    // SAFETY: as above.
    unsafe { (*mutex).Count = 1 };
    // SAFETY: the address alone is computed, inside the mutex.
    let event = unsafe { &raw mut (*mutex).Event };
    // SAFETY: the event is inside the mutex; 1 is a synchronization event.
    unsafe { crate::KeInitializeEvent(event, 1, 0) };
}

/// Makes a sequenced list empty, as the WDK's inline does.
///
/// # Safety
/// `head` is valid for writes, and nobody uses it.
pub unsafe fn InitializeSListHead(head: *mut SLIST_HEADER) {
    // SAFETY: the caller gives a head that is valid for writes.
    unsafe { head.write(SLIST_HEADER { Reserved: [0; 2] }) };
}
