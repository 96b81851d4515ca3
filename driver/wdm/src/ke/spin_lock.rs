//! Spin locks that own the data that they protect.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    ops::{Deref, DerefMut},
};

use pinned_init::{Init, PinInit, init_from_closure, pin_data, pin_init, pin_init_from_closure};

use crate::ke::{
    irql::{AtMostDispatch, Dispatch, SpinLockHeld},
    lock_debug::LockDebug,
    lock_order::{Alone, LockAfter, LockClass},
};

/// A value that can be accessed only while its spin lock is held (`KSPIN_LOCK`).
///
/// Acquiring the lock raises the IRQL to `DISPATCH_LEVEL` and borrows the caller's token until the guard is
/// dropped. So the holder cannot wait or complete an IRP, and locks are released in the reverse order of
/// acquisition, each restoring the IRQL at which it was acquired. Hold a lock for no more than 25 microseconds. `C`
/// is the class of the lock; it determines [under which other locks](mod@crate::lock_order) this one may be
/// acquired.
///
/// The lock must not move, so it is initialised in place, with `pinned-init`; or it is a `static`, which
/// [`SpinLock::new_static`] initialises.
///
/// WDK: [Introduction to Spin Locks](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-spin-locks).
///
/// # Examples
///
/// ```
/// use pinned_init::{PinInit, pin_data, pin_init};
/// use wdm::{PassiveLevel, SpinLock};
///
/// #[pin_data]
/// struct Statistics {
///     #[pin]
///     reads: SpinLock<(u64, u64)>,
/// }
///
/// impl Statistics {
///     fn new() -> impl PinInit<Self> {
///         pin_init!(Self { reads <- SpinLock::new((0, 0)) })
///     }
///
///     fn count(&self, length: u64, irql: &mut PassiveLevel) {
///         self.reads.with(irql, |(reads, bytes), _| {
///             *reads += 1;
///             *bytes += length;
///         });
///     }
/// }
/// # fn main() {}
/// ```
///
/// # What goes wrong in C
///
/// The lock and its data are separate variables, and nothing connects them. A driver passes the saved IRQL to the
/// release of another lock; acquires locks in two orders, or one lock twice; calls `KeAcquireSpinLockAtDpcLevel` at
/// `PASSIVE_LEVEL`, or pairs it with the wrong release; or completes an IRP under the lock. Here none of this
/// compiles.
///
/// # A forgotten guard
///
/// Prefer [`SpinLock::with`], which has no guard to forget. If a guard is passed to [`core::mem::forget`], the lock
/// stays held, the IRQL stays raised, and the caller's token no longer matches the IRQL. Memory stays safe, since
/// no code can access the value again. The system stops, though: the next acquisition spins forever; under
/// Driver Verifier a wait is bug check 0xC4, and a return from the dispatch routine is bug check 0xC9.
///
/// # The feature `lock-debug`
///
/// With this feature a lock records the processor of its owner. A second acquisition on that processor reports the
/// lock to the debugger and stops the system with bug check 0x0F, `SPIN_LOCK_ALREADY_OWNED`. `SpinLock::statistics`
/// returns the number of acquisitions, the number of those that found the lock held by another processor, and the
/// longest hold time. An acquisition then raises the IRQL in a separate step, before it takes the lock.
#[doc(alias = "KSPIN_LOCK")]
#[pin_data]
#[repr(C)]
pub struct SpinLock<T, C = Alone> {
    #[pin]
    lock: RawSpinLock,
    debug: LockDebug,
    value: UnsafeCell<T>,
    // Invariant: the lock is of this class alone.
    _class: PhantomData<fn(C) -> C>,
}

// SAFETY: the lock gives access to the value to one thread at a time, which requires `T: Send`.
unsafe impl<T: Send, C> Sync for SpinLock<T, C> {}

impl<T, C: LockClass> SpinLock<T, C> {
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
            debug: LockDebug::new(),
            value <- in_cell(value),
            _class: PhantomData,
        })
    }

    /// Makes a lock that is not held, at compile time: for a `static`.
    ///
    /// A driver keeps the state of a device in the device. Use a static for state of the driver itself.
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{PassiveLevel, SpinLock};
    ///
    /// static LOADS: SpinLock<u32> = SpinLock::new_static(0);
    ///
    /// fn count(irql: &mut PassiveLevel) -> u32 {
    ///     LOADS.with(irql, |loads, _| {
    ///         *loads += 1;
    ///         *loads
    ///     })
    /// }
    /// ```
    #[must_use]
    pub const fn new_static(value: T) -> Self {
        Self {
            lock: RawSpinLock::new_static(),
            debug: LockDebug::new(),
            value: UnsafeCell::new(value),
            _class: PhantomData,
        }
    }

    /// Raises the IRQL to `DISPATCH_LEVEL` and acquires the lock (`KeAcquireSpinLock`).
    ///
    /// WDK: [KeAcquireSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlock).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeAcquireSpinLockRaiseToDpc")]
    #[doc(alias = "KeAcquireSpinLock")]
    pub fn lock<'a, L: AtMostDispatch>(&'a self, _irql: &'a mut L) -> SpinLockGuard<'a, T, C>
    where
        C: LockAfter<L::Held>,
    {
        // SAFETY: the lock was initialised in place, and the token says that the IRQL is at most DISPATCH_LEVEL.
        // The guard releases it.
        let old_irql = unsafe { self.debug.acquire::<Self>(self.lock.raw()) };
        self.guard(RestoreIrql(old_irql))
    }

    /// Acquires the lock at `DISPATCH_LEVEL`, without changing the IRQL (`KeAcquireSpinLockAtDpcLevel`).
    ///
    /// WDK: [KeAcquireSpinLockAtDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlockatdpclevel).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeAcquireSpinLockAtDpcLevel")]
    pub fn lock_at_dpc<'a, D: Dispatch>(&'a self, _irql: &'a mut D) -> SpinLockAtDpcGuard<'a, T, C>
    where
        C: LockAfter<D::Held>,
    {
        // SAFETY: the lock was initialised in place, and the token says that the IRQL is DISPATCH_LEVEL. The guard
        // releases it.
        unsafe { self.debug.acquire_at_dpc::<Self>(self.lock.raw()) };
        self.guard(KeepIrql)
    }

    /// Acquires the lock at `DISPATCH_LEVEL` if it is not held, else returns `None`
    /// (`KeTryToAcquireSpinLockAtDpcLevel`).
    ///
    /// WDK: [KeTryToAcquireSpinLockAtDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ketrytoacquirespinlockatdpclevel).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeTryToAcquireSpinLockAtDpcLevel")]
    pub fn try_lock_at_dpc<'a, D: Dispatch>(
        &'a self,
        _irql: &'a mut D,
    ) -> Option<SpinLockAtDpcGuard<'a, T, C>>
    where
        C: LockAfter<D::Held>,
    {
        // SAFETY: as in `lock_at_dpc`.
        let taken = unsafe { self.debug.try_acquire_at_dpc::<Self>(self.lock.raw()) };
        taken.then(|| self.guard(KeepIrql))
    }

    /// Acquires the lock as [`SpinLock::lock`] does and runs a closure with it held.
    ///
    /// The closure gets the value and the token with which it can acquire further locks.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    pub fn with<L: AtMostDispatch, R>(
        &self,
        irql: &mut L,
        f: impl FnOnce(&mut T, &mut SpinLockHeld<C>) -> R,
    ) -> R
    where
        C: LockAfter<L::Held>,
    {
        let mut guard = self.lock(irql);
        let (value, held) = guard.split();
        f(value, held)
    }

    /// Runs a closure with two locks of one class held, acquired in the order of their addresses. Returns `None` if
    /// both are the same lock.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`; the closure runs at `DISPATCH_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{PassiveLevel, SpinLock};
    ///
    /// fn transfer(from: &SpinLock<u64>, to: &SpinLock<u64>, amount: u64, irql: &mut PassiveLevel) {
    ///     SpinLock::with_both(from, to, irql, |from, to, _| {
    ///         *from -= amount;
    ///         *to += amount;
    ///     });
    /// }
    /// ```
    pub fn with_both<L: AtMostDispatch, R>(
        first: &Self,
        second: &Self,
        irql: &mut L,
        f: impl FnOnce(&mut T, &mut T, &mut SpinLockHeld<C>) -> R,
    ) -> Option<R>
    where
        C: LockAfter<L::Held>,
    {
        let (one, other) = (core::ptr::from_ref(first), core::ptr::from_ref(second));
        if core::ptr::eq(one, other) {
            return None;
        }
        if one < other {
            let mut outer = first.lock(irql);
            let (outer, _) = outer.split();
            // SAFETY: the IRQL is DISPATCH_LEVEL while `outer` lives. Every thread acquires locks of this class in
            // the order of their addresses.
            let mut inner = unsafe { second.lock_second() };
            let (inner, held) = inner.split();
            Some(f(outer, inner, held))
        } else {
            let mut outer = second.lock(irql);
            let (outer, _) = outer.split();
            // SAFETY: as above.
            let mut inner = unsafe { first.lock_second() };
            let (inner, held) = inner.split();
            Some(f(inner, outer, held))
        }
    }

    /// Acquires the lock while another one of its class is held.
    ///
    /// # Safety
    /// The IRQL is `DISPATCH_LEVEL` while the guard lives, and no lock that is held comes after this one in the
    /// lock order.
    unsafe fn lock_second(&self) -> SpinLockAtDpcGuard<'_, T, C> {
        // SAFETY: the lock was initialised in place; the rest is guaranteed by the caller.
        unsafe { self.debug.acquire_at_dpc::<Self>(self.lock.raw()) };
        self.guard(KeepIrql)
    }

    /// Returns the statistics of the lock since it was initialised.
    ///
    /// # IRQL
    /// Any.
    #[cfg(feature = "lock-debug")]
    pub fn statistics(&self) -> crate::LockStatistics {
        self.debug.statistics()
    }

    /// Makes the guard of the lock, which the caller has just acquired at `DISPATCH_LEVEL`.
    fn guard<R: Release>(&self, release: R) -> Guard<'_, T, C, R> {
        Guard {
            lock: self,
            release,
            // SAFETY: the lock is held, at DISPATCH_LEVEL, while the guard lives, and the token can be reached only
            // through the guard. Acquiring another lock borrows the token.
            held: unsafe { SpinLockHeld::assume() },
        }
    }
}

/// A pinned `KSPIN_LOCK`: for a [`SpinLock`], or for a type that does not share its lock.
#[pin_data]
pub(crate) struct RawSpinLock {
    #[pin]
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access the lock, and they may be called from any thread.
unsafe impl Sync for RawSpinLock {}

impl RawSpinLock {
    /// Initialises a lock that is not held (`KeInitializeSpinLock`).
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { lock <- initialised(), _pinned: PhantomPinned })
    }

    /// Makes a lock that is not held, at compile time. It has no pointer to itself, so it can be moved until it is used.
    pub(crate) const fn new_static() -> Self {
        Self {
            lock: UnsafeCell::new(nt::SPIN_LOCK_FREE),
            _pinned: PhantomPinned,
        }
    }

    /// Returns the pointer that the kernel's routines take.
    pub(crate) fn raw(&self) -> *mut nt::KSPIN_LOCK {
        self.lock.get()
    }
}

/// Initialises a value inside a cell, in place.
pub(crate) fn in_cell<T>(value: impl Init<T>) -> impl Init<UnsafeCell<T>> {
    let initialise = |slot: *mut UnsafeCell<T>| {
        // SAFETY: the slot is valid for writes, and so are the contents of the cell.
        unsafe { value.__init(UnsafeCell::raw_get(slot)) }
    };
    // SAFETY: the closure initialises the slot if it succeeds, and leaves it uninitialised if it fails.
    unsafe { init_from_closure(initialise) }
}

/// Initialises the raw lock in place.
fn initialised() -> impl PinInit<UnsafeCell<nt::KSPIN_LOCK>> {
    let initialise = |slot: *mut UnsafeCell<nt::KSPIN_LOCK>| {
        // SAFETY: the slot is valid for writes, and the lock stays there.
        unsafe { nt::KeInitializeSpinLock(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

/// The guard of [`SpinLock::lock`]; dropping it releases the lock and restores the IRQL (`KeReleaseSpinLock`).
///
/// WDK: [KeReleaseSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlock).
#[doc(alias = "KeReleaseSpinLock")]
pub type SpinLockGuard<'a, T, C = Alone> = Guard<'a, T, C, RestoreIrql>;

/// The guard of [`SpinLock::lock_at_dpc`]; dropping it releases the lock and leaves the IRQL at `DISPATCH_LEVEL`
/// (`KeReleaseSpinLockFromDpcLevel`).
///
/// WDK: [KeReleaseSpinLockFromDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlockfromdpclevel).
#[doc(alias = "KeReleaseSpinLockFromDpcLevel")]
pub type SpinLockAtDpcGuard<'a, T, C = Alone> = Guard<'a, T, C, KeepIrql>;

/// The way in which a guard releases its lock.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a way to release a spin lock",
    note = "a guard restores the IRQL (`RestoreIrql`) or keeps it at `DISPATCH_LEVEL` (`KeepIrql`)"
)]
pub trait Release: sealed::Sealed {}

mod sealed {
    use super::{KeepIrql, RestoreIrql};
    use crate::ke::lock_debug::LockDebug;

    pub trait Sealed {
        /// Releases the lock.
        ///
        /// # Safety
        /// The lock was acquired by the routine that matches this release, and the IRQL is `DISPATCH_LEVEL`.
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK);
    }

    impl Sealed for RestoreIrql {
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: guaranteed by the caller; `self.0` is the IRQL that the acquisition returned.
            unsafe { debug.release(lock, self.0) };
        }
    }

    impl Sealed for KeepIrql {
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: guaranteed by the caller.
            unsafe { debug.release_from_dpc(lock) };
        }
    }
}

/// The release restores the IRQL at which the lock was acquired (`KeReleaseSpinLock`).
///
/// WDK: [KeReleaseSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlock).
#[doc(alias = "KeReleaseSpinLock")]
pub struct RestoreIrql(u8);

/// The release leaves the IRQL at `DISPATCH_LEVEL` (`KeReleaseSpinLockFromDpcLevel`).
///
/// WDK: [KeReleaseSpinLockFromDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlockfromdpclevel).
#[doc(alias = "KeReleaseSpinLockFromDpcLevel")]
pub struct KeepIrql;

impl Release for RestoreIrql {}
impl Release for KeepIrql {}

/// The guard of a held [`SpinLock`]; dropping it releases the lock with the routine that matches its acquisition.
///
/// # Examples
///
/// ```
/// use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};
///
/// struct Device;
/// struct Channel;
/// lock_order!(Unlocked => Device);
/// lock_order!(Device => Channel);
///
/// fn open(device: &SpinLock<u32, Device>, channel: &SpinLock<u32, Channel>, irql: &mut PassiveLevel) {
///     let mut guard = device.lock(irql);
///     let (open, held) = guard.split();
///     *open += 1;
///     *channel.lock_at_dpc(held) = *open;
/// }
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a, T, C, R: Release> {
    lock: &'a SpinLock<T, C>,
    release: R,
    held: SpinLockHeld<C>,
}

impl<T, C: LockClass, R: Release> Guard<'_, T, C, R> {
    /// Lends the value and the token of the held lock, with which a second lock can be acquired.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn split(&mut self) -> (&mut T, &mut SpinLockHeld<C>) {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` is the only way to it.
        let value = unsafe { &mut *self.lock.value.get() };
        (value, &mut self.held)
    }
}

impl<T, C: LockClass> SpinLockGuard<'_, T, C> {
    /// Releases the lock and acquires it again. The guard is borrowed exclusively, so neither the value nor the token is
    /// in use.
    pub(crate) fn release_and_acquire(&mut self) {
        let lock = self.lock;
        // SAFETY: the lock was acquired for this guard, as for its `Drop`.
        unsafe { lock.debug.release(lock.lock.raw(), self.release.0) };
        // SAFETY: the lock was initialised in place. The guard was made at an IRQL of at most DISPATCH_LEVEL, which the
        // release has restored.
        self.release =
            RestoreIrql(unsafe { lock.debug.acquire::<SpinLock<T, C>>(lock.lock.raw()) });
    }
}

impl<T, C> SpinLockGuard<'_, T, C> {
    /// Returns the IRQL that the release restores, which `KeAcquireSpinLock` saved.
    ///
    /// WDK: [KeAcquireSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlock).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeAcquireSpinLock")]
    #[must_use]
    pub fn old_irql(&self) -> u8 {
        self.release.0
    }
}

impl<T, C, R: Release> Deref for Guard<'_, T, C, R> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, C, R: Release> DerefMut for Guard<'_, T, C, R> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` is the only way to it.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, C, R: Release> Drop for Guard<'_, T, C, R> {
    fn drop(&mut self) {
        // SAFETY: the lock was acquired for this guard by the routine that matches `release`. Later guards, and
        // code that raised the IRQL, borrowed this guard's token and have ended, so the IRQL is still
        // DISPATCH_LEVEL.
        unsafe { self.release.release(&self.lock.debug, self.lock.lock.raw()) };
    }
}
