//! IRQL, and the locks that raise the IRQL.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use nt::{DISPATCH_LEVEL, KLOCK_QUEUE_HANDLE, KSPIN_LOCK};

use super::{dpc, routines};

thread_local! {
    static IRQL: Cell<u8> = const { Cell::new(0) };
    /// The function to call after this thread has released a spin lock, as if another thread did it.
    static AFTER_RELEASE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    static RELEASES: Cell<u32> = const { Cell::new(0) };
    /// The number of critical regions that this thread is in.
    static REGIONS: Cell<u32> = const { Cell::new(0) };
    /// The number of holds of remove locks that this thread has acquired and not released: now, and when it left its last region.
    static HOLDS: Cell<[i32; 2]> = const { Cell::new([0; 2]) };
    static PROCESSOR: u64 = NEXT_PROCESSOR.fetch_add(1, Ordering::Relaxed);
}

static NEXT_PROCESSOR: AtomicU64 = AtomicU64::new(1);

static CANCEL_SPIN_LOCK: AtomicU64 = AtomicU64::new(nt::SPIN_LOCK_FREE);

/// Returns the IRQL of this processor.
pub fn current() -> u8 {
    IRQL.get()
}

/// Raises the IRQL to `DISPATCH_LEVEL` and returns the old IRQL.
pub fn raise() -> u8 {
    IRQL.replace(DISPATCH_LEVEL)
}

/// Sets the function that is called after this thread has released the spin lock that it holds or acquires next.
pub fn after_release(f: impl FnOnce() + 'static) {
    AFTER_RELEASE.set(Some(Box::new(f)));
}

/// Returns the number of spin locks that this thread has released.
pub fn releases() -> u32 {
    RELEASES.get()
}

/// Adds to the number of holds that this thread has.
pub fn add_holds(count: i32) {
    let [now, left_with] = HOLDS.get();
    HOLDS.set([now + count, left_with]);
}

/// Returns the number of holds that this thread had when it left its last critical region, where it stops if it is suspended.
pub fn holds_when_left() -> i32 {
    HOLDS.get()[1]
}

/// Restores the IRQL, and runs DPCs if it is below `DISPATCH_LEVEL`.
pub fn lower(irql: u8) {
    assert_eq!(current(), DISPATCH_LEVEL, "lowered from another IRQL");
    assert!(irql <= DISPATCH_LEVEL, "lowered to a higher IRQL");
    IRQL.set(irql);
    if irql < DISPATCH_LEVEL {
        dpc::run_queued();
    }
}

/// Runs a closure at `DISPATCH_LEVEL`, and does not run DPCs after it.
pub fn at_dispatch(f: impl FnOnce()) {
    let old = raise();
    f();
    assert_eq!(current(), DISPATCH_LEVEL, "a DPC changed the IRQL");
    IRQL.set(old);
}

/// Checks that the thread may wait.
pub fn assert_passive(routine: &str) {
    assert_eq!(current(), 0, "{routine} above PASSIVE_LEVEL");
}

fn assert_dispatch() {
    assert_eq!(current(), DISPATCH_LEVEL, "below DISPATCH_LEVEL");
}

fn try_acquire(lock: &AtomicU64) -> bool {
    let me = PROCESSOR.with(|processor| *processor);
    assert_ne!(
        lock.load(Ordering::Relaxed),
        me,
        "the processor has the spin lock"
    );
    lock.compare_exchange(nt::SPIN_LOCK_FREE, me, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

fn acquire(lock: &AtomicU64) {
    while !try_acquire(lock) {
        std::thread::yield_now();
    }
}

fn release(lock: &AtomicU64) {
    let me = PROCESSOR.with(|processor| *processor);
    let owner = lock.swap(nt::SPIN_LOCK_FREE, Ordering::Release);
    assert_eq!(owner, me, "another processor has the spin lock");
}

/// Returns a spin lock as an atomic.
///
/// # Safety
/// `lock` was initialised, and is valid as long as the reference is used.
unsafe fn word<'a>(lock: *mut KSPIN_LOCK) -> &'a AtomicU64 {
    // SAFETY: guaranteed by the caller; all accesses are atomic.
    unsafe { AtomicU64::from_ptr(lock) }
}

/// Runs a closure with a spin lock held, at the current IRQL.
///
/// # Safety
/// As for [`word`].
pub unsafe fn with_lock<R>(lock: *mut KSPIN_LOCK, f: impl FnOnce() -> R) -> R {
    // SAFETY: guaranteed by the caller.
    let lock = unsafe { word(lock) };
    acquire(lock);
    let result = f();
    release(lock);
    result
}

/// The contents of a `KLOCK_QUEUE_HANDLE`.
#[repr(C)]
struct Handle {
    next: u64,
    lock: *mut KSPIN_LOCK,
    old_irql: u8,
}

const _: () = assert!(size_of::<Handle>() == size_of::<KLOCK_QUEUE_HANDLE>());

/// Acquires an in-stack queued spin lock.
///
/// # Safety
/// `handle` is valid for writes, and `lock` was initialised.
unsafe fn acquire_queued(lock: *mut KSPIN_LOCK, handle: *mut KLOCK_QUEUE_HANDLE, old_irql: u8) {
    // SAFETY: guaranteed by the caller.
    acquire(unsafe { word(lock) });
    let taken = Handle {
        next: 0,
        lock,
        old_irql,
    };
    // SAFETY: guaranteed by the caller; the handle has this size.
    unsafe { handle.cast::<Handle>().write(taken) };
}

/// Releases an in-stack queued spin lock; returns the saved IRQL.
///
/// # Safety
/// The lock was acquired with `handle`.
unsafe fn release_queued(handle: *mut KLOCK_QUEUE_HANDLE) -> u8 {
    // SAFETY: `acquire_queued` wrote the handle.
    let Handle { lock, old_irql, .. } = unsafe { handle.cast::<Handle>().read() };
    // SAFETY: the lock is held, so it is valid.
    release(unsafe { word(lock) });
    old_irql
}

routines! {
    fn KeEnterCriticalRegion() {
        assert!(current() < DISPATCH_LEVEL, "KeEnterCriticalRegion at DISPATCH_LEVEL");
        REGIONS.set(REGIONS.get() + 1);
    }

    fn KeAreAllApcsDisabled() -> u8 {
        u8::from(current() >= DISPATCH_LEVEL)
    }

    fn KeLeaveCriticalRegion() {
        assert!(current() < DISPATCH_LEVEL, "KeLeaveCriticalRegion at DISPATCH_LEVEL");
        REGIONS.set(REGIONS.get().checked_sub(1).expect("a region"));
        HOLDS.set([HOLDS.get()[0]; 2]);
    }

    // wdm raises the IRQL only to DISPATCH_LEVEL.
    fn KfRaiseIrql(irql: u8) -> u8 {
        assert_eq!(irql, nt::DISPATCH_LEVEL);
        raise()
    }

    fn KeLowerIrql(irql: u8) {
        lower(irql);
    }

    fn KeInitializeSpinLock(lock: *mut KSPIN_LOCK) {
        // SAFETY: the caller passes valid memory for the lock.
        unsafe { lock.write(nt::SPIN_LOCK_FREE) };
    }

    fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> u8 {
        let old_irql = raise();
        // SAFETY: the caller passes an initialised lock.
        acquire(unsafe { word(lock) });
        old_irql
    }

    fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, irql: u8) {
        // SAFETY: the lock is held, so it is valid.
        release(unsafe { word(lock) });
        lower(irql);
        RELEASES.set(RELEASES.get() + 1);
        if let Some(f) = AFTER_RELEASE.take() {
            f();
        }
    }

    fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) {
        assert_dispatch();
        // SAFETY: the caller passes an initialised lock.
        acquire(unsafe { word(lock) });
    }

    fn KeTryToAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) -> u8 {
        assert_dispatch();
        // SAFETY: the caller passes an initialised lock.
        u8::from(try_acquire(unsafe { word(lock) }))
    }

    fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK) {
        assert_dispatch();
        // SAFETY: the lock is held, so it is valid.
        release(unsafe { word(lock) });
    }

    fn KeAcquireInStackQueuedSpinLock(lock: *mut KSPIN_LOCK, handle: *mut KLOCK_QUEUE_HANDLE) {
        let old_irql = raise();
        // SAFETY: guaranteed by the caller.
        unsafe { acquire_queued(lock, handle, old_irql) };
    }

    fn KeReleaseInStackQueuedSpinLock(handle: *mut KLOCK_QUEUE_HANDLE) {
        // SAFETY: guaranteed by the caller.
        lower(unsafe { release_queued(handle) });
    }

    fn KeAcquireInStackQueuedSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK, handle: *mut KLOCK_QUEUE_HANDLE) {
        assert_dispatch();
        // SAFETY: guaranteed by the caller.
        unsafe { acquire_queued(lock, handle, DISPATCH_LEVEL) };
    }

    fn KeReleaseInStackQueuedSpinLockFromDpcLevel(handle: *mut KLOCK_QUEUE_HANDLE) {
        assert_dispatch();
        // SAFETY: guaranteed by the caller.
        unsafe { release_queued(handle) };
    }

    fn IoAcquireCancelSpinLock(irql: *mut u8) {
        let old_irql = raise();
        acquire(&CANCEL_SPIN_LOCK);
        // SAFETY: the caller passes valid memory for the IRQL.
        unsafe { irql.write(old_irql) };
    }

    fn IoReleaseCancelSpinLock(irql: u8) {
        release(&CANCEL_SPIN_LOCK);
        lower(irql);
    }

    fn KeGetCurrentProcessorNumberEx(_number: *mut core::ffi::c_void) -> u32 {
        PROCESSOR.with(|processor| u32::try_from(*processor)).unwrap_or(u32::MAX)
    }

    fn KeQueryMaximumProcessorCountEx(_group: u16) -> u32 {
        u32::MAX
    }
}
