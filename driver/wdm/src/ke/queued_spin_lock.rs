//! In-stack queued spin locks.

use core::{cell::UnsafeCell, marker::PhantomData};

use pinned_init::{Init, PinInit, pin_data, pin_init};

use crate::ke::{
    irql::{AtMostDispatch, Dispatch, SpinLockHeld},
    lock_order::{Alone, LockAfter, LockClass},
    on_drop::OnDrop,
    spin_lock::{RawSpinLock, in_cell},
};

/// A value that can be accessed only while its in-stack queued spin lock is held
/// (`KeAcquireInStackQueuedSpinLock`).
///
/// Processors acquire such a lock in the order of their requests, and each spins on its own memory. So it
/// is fairer than a [`SpinLock`](crate::SpinLock), and faster under contention. Otherwise it behaves like a
/// `SpinLock`. It has closures only, no guard: the queue handle is on the stack and must not move.
///
/// WDK: [Queued Spin Locks](https://learn.microsoft.com/windows-hardware/drivers/kernel/queued-spin-locks).
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
///
/// # What goes wrong in C
///
/// A driver uses one handle for two locks, or frees it before the release; or it acquires a lock with
/// `KeAcquireSpinLock` in one place and with the queued routine in another, which corrupts the lock. Here the
/// driver cannot access the handle, and a lock of this type is acquired only with the queued routines.
#[doc(alias = "KLOCK_QUEUE_HANDLE")]
#[doc(alias = "KeAcquireInStackQueuedSpinLock")]
#[pin_data]
pub struct QueuedSpinLock<T, C = Alone> {
    #[pin]
    lock: RawSpinLock,
    value: UnsafeCell<T>,
    // Invariant: a subtype of the class is another class.
    _class: PhantomData<fn(C) -> C>,
}

// SAFETY: the lock gives access to the value to one thread at a time, which requires `T: Send`.
unsafe impl<T: Send, C> Sync for QueuedSpinLock<T, C> {}

impl<T, C: LockClass> QueuedSpinLock<T, C> {
    /// Initialises a lock that is not held, with a value or an in-place initialiser of one
    /// (`KeInitializeSpinLock`).
    ///
    /// WDK: [KeInitializeSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeSpinLock")]
    pub fn new(value: impl Init<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RawSpinLock::new(),
            value <- in_cell(value),
            _class: PhantomData,
        })
    }

    /// Makes a lock that is not held, at compile time: for a `static`, as
    /// [`SpinLock::new_static`](crate::SpinLock::new_static) does.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn new_static(value: T) -> Self {
        Self {
            lock: RawSpinLock::new_static(),
            value: UnsafeCell::new(value),
            _class: PhantomData,
        }
    }

    /// Raises the IRQL to `DISPATCH_LEVEL` and runs a closure with the lock held
    /// (`KeAcquireInStackQueuedSpinLock`, `KeReleaseInStackQueuedSpinLock`).
    ///
    /// WDK: [KeAcquireInStackQueuedSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireinstackqueuedspinlock).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    #[doc(alias = "KeAcquireInStackQueuedSpinLock")]
    #[doc(alias = "KeReleaseInStackQueuedSpinLock")]
    pub fn with<L: AtMostDispatch, R>(
        &self,
        _irql: &mut L,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<L::Held>,
    {
        let mut handle = nt::KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        // The kernel keeps this pointer, so no reference to the handle is made.
        let handle = &raw mut handle;
        // SAFETY: the lock was initialised in place, the handle is on this stack until the release, and the
        // token says that the IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::KeAcquireInStackQueuedSpinLock(self.lock.raw(), handle) };
        // SAFETY: the lock was acquired with this handle. The closure's own locks borrowed the token, so they are
        // released, and the IRQL is DISPATCH_LEVEL.
        let _release = OnDrop(|| unsafe { nt::KeReleaseInStackQueuedSpinLock(handle) });
        // SAFETY: the lock is held until `_release` is dropped.
        unsafe { self.run(f) }
    }

    /// Runs a closure with the lock held, at `DISPATCH_LEVEL`, without changing the IRQL
    /// (`KeAcquireInStackQueuedSpinLockAtDpcLevel`, `KeReleaseInStackQueuedSpinLockFromDpcLevel`).
    ///
    /// WDK: [KeAcquireInStackQueuedSpinLockAtDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireinstackqueuedspinlockatdpclevel).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{Dpc, DpcRoutine, QueuedSpinLock, Shared, irql::DispatchLevel};
    ///
    /// /// Adds what the device has received.
    /// struct Received(Shared<QueuedSpinLock<u64>>);
    ///
    /// impl DpcRoutine for Received {
    ///     fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
    ///         dpc.0.with_at_dpc(irql, |bytes, _| *bytes += 1);
    ///     }
    /// }
    /// ```
    #[doc(alias = "KeAcquireInStackQueuedSpinLockAtDpcLevel")]
    #[doc(alias = "KeReleaseInStackQueuedSpinLockFromDpcLevel")]
    pub fn with_at_dpc<D: Dispatch, R>(
        &self,
        _irql: &mut D,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<D::Held>,
    {
        let mut handle = nt::KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        // The kernel keeps this pointer, so no reference to the handle is made.
        let handle = &raw mut handle;
        // SAFETY: as in `with`, and the token says that the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeAcquireInStackQueuedSpinLockAtDpcLevel(self.lock.raw(), handle) };
        // SAFETY: as in `with`.
        let _release = OnDrop(|| unsafe {
            nt::KeReleaseInStackQueuedSpinLockFromDpcLevel(handle);
        });
        // SAFETY: as in `with`.
        unsafe { self.run(f) }
    }

    /// Runs a closure with the value.
    ///
    /// # Safety
    /// The caller holds the lock, at `DISPATCH_LEVEL`, until this returns.
    unsafe fn run<R>(&self, f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R) -> R {
        // SAFETY: the caller holds the lock, and this is the only reference made under it.
        let value = unsafe { &mut *self.value.get() };
        // SAFETY: the caller holds the lock, which it acquired last, as long as the token can be reached.
        f(value, &mut unsafe { SpinLockHeld::assume() })
    }
}
