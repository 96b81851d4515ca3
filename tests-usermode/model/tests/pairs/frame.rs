//! The common part of the drivers.

use std::cell::UnsafeCell;

use nt::{FAST_MUTEX, KEVENT, KSPIN_LOCK, NTSTATUS, POOL_FLAG_NON_PAGED};

/// The tag of the drivers' pool blocks.
pub const TAG: u32 = u32::from_le_bytes(*b"riaP");

/// No mistake.
pub const CORRECT: u8 = 0;

pub fn allocate<T>() -> *mut T {
    nt!(ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<T>(), TAG)).cast()
}

pub fn free<T>(block: *mut T) {
    nt!(ExFreePoolWithTag(block.cast(), TAG));
}

pub fn put<T>(place: *mut T, value: T) {
    // SAFETY: the place is the driver's or the model's, which detects what is wrong with it.
    unsafe { place.write(value) };
}

pub fn get<T: Copy>(place: *const T) -> T {
    // SAFETY: as above.
    unsafe { place.read() }
}

/// A spin lock in a device extension.
#[repr(C)]
pub struct Lock(UnsafeCell<KSPIN_LOCK>);

impl Lock {
    pub fn initialise(&self) {
        nt!(KeInitializeSpinLock(self.get()));
    }

    pub const fn get(&self) -> *mut KSPIN_LOCK {
        self.0.get()
    }

    pub fn acquire(&self) -> u8 {
        nt!(KeAcquireSpinLockRaiseToDpc(self.get()))
    }

    pub fn release(&self, irql: u8) {
        nt!(KeReleaseSpinLock(self.get(), irql));
    }

    /// Runs code under the lock.
    pub fn with<T>(&self, code: impl FnOnce() -> T) -> T {
        let irql = self.acquire();
        let value = code();
        self.release(irql);
        value
    }
}

pub fn acquire_cancel() -> u8 {
    let mut irql = 0;
    nt!(IoAcquireCancelSpinLock(&raw mut irql));
    irql
}

pub fn release_cancel(irql: u8) {
    nt!(IoReleaseCancelSpinLock(irql));
}

/// A synchronization event that is not set.
pub fn initialise_event(event: *mut KEVENT) {
    nt!(KeInitializeEvent(
        event,
        nt::_EVENT_TYPE::SynchronizationEvent,
        0
    ));
}

pub fn set_event(event: *mut KEVENT) {
    nt!(KeSetEvent(event, 0, 0));
}

/// Waits for an object for a time in units of 100 ns.
pub fn wait_for<T>(object: *mut T, time: i64) -> NTSTATUS {
    let mut due = -time;
    nt!(KeWaitForSingleObject(object.cast(), 0, 0, 0, &raw mut due))
}

pub fn with_fast_mutex<T>(mutex: *mut FAST_MUTEX, code: impl FnOnce() -> T) -> T {
    nt!(ExAcquireFastMutex(mutex));
    let value = code();
    nt!(ExReleaseFastMutex(mutex));
    value
}
