//! In-stack queued spin locks.

use core::{cell::UnsafeCell, marker::PhantomData};

use pinned_init::{Init, PinInit, pin_data, pin_init};

use crate::ke::{
    irql::{AtMostDispatch, Dispatch, SpinLockHeld},
    lock_order::{Alone, LockAfter, LockClass},
    spin_lock::{RawSpinLock, in_cell},
};

/// A value that is reached with its in-stack queued spin lock held (`KeAcquireInStackQueuedSpinLock`).
///
/// Who waits for such a lock waits in line and looks at memory of its own, so it is fairer than a
/// [`SpinLock`](crate::SpinLock), and faster where many processors want it. All else is the same, and
/// there are closures only, since the place in line is on the stack and must stay there.
///
/// # What goes wrong in C
///
/// One handle is used for two locks, or is gone before the release; a lock is taken by
/// `KeAcquireSpinLock` in one place and by the queued routine in another, which corrupts it. Here the handle is
/// out of reach, and a lock of this type is taken in this way alone.
///
/// WDK: "Queued Spin Locks".
///
/// # Examples
///
/// ```
/// use wdm::{PassiveLevel, QueuedSpinLock};
///
/// fn count(events: &QueuedSpinLock<u64>, irql: &mut PassiveLevel) {
///     events.with(irql, |events, _| *events += 1);
/// }
/// ```
#[pin_data]
pub struct QueuedSpinLock<T, C = Alone> {
    #[pin]
    lock: RawSpinLock,
    value: UnsafeCell<T>,
    // Invariant: the lock is of this class alone.
    _class: PhantomData<fn(C) -> C>,
}

// SAFETY: the lock gives the value to one thread at a time, which is what sending it asks of `T`.
unsafe impl<T: Send, C> Sync for QueuedSpinLock<T, C> {}

impl<T, C: LockClass> QueuedSpinLock<T, C> {
    /// Initialises a free lock around a value, or around what an initialiser makes in its place
    /// (`KeInitializeSpinLock`).
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: impl Init<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RawSpinLock::new(),
            value <- in_cell(value),
            _class: PhantomData,
        })
    }

    /// Raises the IRQL to `DISPATCH_LEVEL` and runs a closure with the lock held
    /// (`KeAcquireInStackQueuedSpinLock`, `KeReleaseInStackQueuedSpinLock`).
    ///
    /// WDK: "`KeAcquireInStackQueuedSpinLock` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    pub fn with<L: AtMostDispatch, R>(
        &self,
        _irql: &mut L,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<L::Held>,
    {
        let mut handle = nt::KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        // SAFETY: the lock was initialised where it is, the handle is on this stack until the release below,
        // and the token says that the IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::KeAcquireInStackQueuedSpinLock(self.lock.raw(), &raw mut handle) };
        // SAFETY: the lock has just been taken, and is released below.
        let result = unsafe { self.run(f) };
        // SAFETY: the handle is the one that the lock was taken with. The closure's own locks borrowed the
        // token, so they are released, and the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeReleaseInStackQueuedSpinLock(&raw mut handle) };
        result
    }

    /// Runs a closure with the lock held, where the IRQL already is `DISPATCH_LEVEL`
    /// (`KeAcquireInStackQueuedSpinLockAtDpcLevel`, `KeReleaseInStackQueuedSpinLockFromDpcLevel`).
    ///
    /// WDK: "`KeAcquireInStackQueuedSpinLockAtDpcLevel` function".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn with_at_dpc<D: Dispatch, R>(
        &self,
        _irql: &mut D,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<D::Held>,
    {
        let mut handle = nt::KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        // SAFETY: as in `with`, and the token says that the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeAcquireInStackQueuedSpinLockAtDpcLevel(self.lock.raw(), &raw mut handle) };
        // SAFETY: the lock has just been taken, and is released below.
        let result = unsafe { self.run(f) };
        // SAFETY: as in `with`.
        unsafe { nt::KeReleaseInStackQueuedSpinLockFromDpcLevel(&raw mut handle) };
        result
    }

    /// Runs a closure with the value.
    ///
    /// # Safety
    /// The caller holds the lock, at `DISPATCH_LEVEL`, until this returns.
    unsafe fn run<R>(&self, f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R) -> R {
        // SAFETY: the caller holds the lock, and this is the only reference made under it.
        let value = unsafe { &mut *self.value.get() };
        // SAFETY: the caller holds the lock, taken last of all, as long as the token can be reached.
        f(value, &mut unsafe { SpinLockHeld::assume() })
    }
}
