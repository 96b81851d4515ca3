//! Reader/writer spin locks.

use core::{cell::UnsafeCell, marker::PhantomData};

use crate::ke::{
    irql::{AtMostDispatch, SpinLockHeld},
    lock_order::{Alone, LockAfter, LockClass},
    on_drop::OnDrop,
};

/// A value that several processors can read at the same time and one can change, under a reader/writer spin lock
/// (`EX_SPIN_LOCK`).
///
/// Use it for a value that is read often and seldom changed. Otherwise it behaves like a [`SpinLock`](crate::SpinLock): the
/// closures run at `DISPATCH_LEVEL`, and the class `C` determines [which locks](mod@crate::lock_order) it may be acquired under.
///
/// The lock needs no initialisation and no fixed place, so it can be a `static`.
///
/// WDK: [Reader/Writer Spin Locks](https://learn.microsoft.com/windows-hardware/drivers/kernel/reader-writer-spin-locks).
///
/// # Examples
///
/// ```
/// use wdm::{PassiveLevel, RwSpinLock};
///
/// static LIMITS: RwSpinLock<[u32; 2]> = RwSpinLock::new([0, 100]);
///
/// fn is_within(value: u32, irql: &mut PassiveLevel) -> bool {
///     LIMITS.read(irql, |[low, high], _| (*low..*high).contains(&value))
/// }
///
/// fn raise(high: u32, irql: &mut PassiveLevel) {
///     LIMITS.write(irql, |limits, _| limits[1] = high);
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver releases the lock with the routine of the other kind, or acquires it exclusively while it holds it shared, which
/// never succeeds. Here the closures release the lock, and a class is not acquired under itself.
#[doc(alias = "EX_SPIN_LOCK")]
pub struct RwSpinLock<T, C = Alone> {
    lock: UnsafeCell<nt::EX_SPIN_LOCK>,
    value: UnsafeCell<T>,
    // Invariant: a subtype of the class is another class.
    _class: PhantomData<fn(C) -> C>,
}

// SAFETY: the lock lends the value to several readers at a time, which requires `T: Sync`, or to one writer at a time in any
// thread, which requires `T: Send`.
unsafe impl<T: Send + Sync, C> Sync for RwSpinLock<T, C> {}

impl<T, C: LockClass> RwSpinLock<T, C> {
    /// Makes a lock that is not held.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self {
            lock: UnsafeCell::new(0),
            value: UnsafeCell::new(value),
            _class: PhantomData,
        }
    }

    /// Runs a closure with the lock held shared (`ExAcquireSpinLockShared`, `ExReleaseSpinLockShared`).
    ///
    /// WDK:
    /// [ExAcquireSpinLockShared](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlockshared).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    #[doc(alias = "ExAcquireSpinLockShared")]
    #[doc(alias = "ExReleaseSpinLockShared")]
    pub fn read<L: AtMostDispatch, R>(
        &self,
        _irql: &mut L,
        f: impl FnOnce(&T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<L::Held>,
    {
        // SAFETY: a word of zero is a lock that is not held; only these routines access it. `self` is borrowed until the
        // release, and the token says that the IRQL is at most DISPATCH_LEVEL.
        let old_irql = unsafe { nt::ExAcquireSpinLockShared(self.lock.get()) };
        // SAFETY: the lock was acquired above in this way, from this IRQL. The closure's own locks borrowed the token, so
        // they are released.
        let _release = OnDrop(|| unsafe { nt::ExReleaseSpinLockShared(self.lock.get(), old_irql) });
        // SAFETY: the lock is held shared until `_release` is dropped, so no thread changes the value.
        let value = unsafe { &*self.value.get() };
        // SAFETY: the IRQL is DISPATCH_LEVEL, and the lock was acquired last, until `_release` is dropped.
        f(value, &mut unsafe { SpinLockHeld::assume() })
    }

    /// Runs a closure with the lock held exclusively (`ExAcquireSpinLockExclusive`, `ExReleaseSpinLockExclusive`).
    ///
    /// WDK:
    /// [ExAcquireSpinLockExclusive](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlockexclusive).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    #[doc(alias = "ExAcquireSpinLockExclusive")]
    #[doc(alias = "ExReleaseSpinLockExclusive")]
    pub fn write<L: AtMostDispatch, R>(
        &self,
        _irql: &mut L,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<L::Held>,
    {
        // SAFETY: as in `read`.
        let old_irql = unsafe { nt::ExAcquireSpinLockExclusive(self.lock.get()) };
        // SAFETY: as in `read`.
        let _release =
            OnDrop(|| unsafe { nt::ExReleaseSpinLockExclusive(self.lock.get(), old_irql) });
        // SAFETY: the lock is held exclusively until `_release` is dropped, so no other thread reads or changes the value.
        let value = unsafe { &mut *self.value.get() };
        // SAFETY: as in `read`.
        f(value, &mut unsafe { SpinLockHeld::assume() })
    }
}
