//! Spin locks that own what they protect.

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

/// A value that is reached with its spin lock held, and not otherwise (`KSPIN_LOCK`).
///
/// Taking the lock raises the IRQL to `DISPATCH_LEVEL` and borrows the caller's token until the guard is
/// gone; so while it is held nothing can wait or complete an IRP, and locks are released in the reverse
/// order of their taking, each to the IRQL that its own taking found. Hold it for 25 microseconds at
/// the most. `C` is its class: it says [which locks](mod@crate::lock_order) it may be taken under.
///
/// The lock may not move: it is initialised where it stays, with `pinned-init`.
///
/// # What goes wrong in C
///
/// The lock is one variable and the data another, and nothing ties them. The saved IRQL is passed to the
/// release of another lock; locks are taken in two orders, or again while held; `KeAcquireSpinLockAtDpcLevel`
/// is called at `PASSIVE_LEVEL`, or paired with the wrong release; an IRP is completed under the lock. None
/// of this compiles here.
///
/// # A forgotten guard
///
/// [`SpinLock::with`] has no guard that could be forgotten, and is the way to prefer. A guard that is
/// given to [`core::mem::forget`] leaves the lock held and the IRQL raised for good, and the caller's
/// token no longer tells the truth. No memory is at risk by that, since nobody can get at the value
/// again; but the processor is lost to the system, which stops: the next taker spins for ever, a wait is
/// bug check 0xB8, a return from the dispatch routine 0xC9 under Driver Verifier.
///
/// # The feature `lock-debug`
///
/// With it a lock knows its owner's processor. Taking it again there stops the system with bug check 0x0F,
/// `SPIN_LOCK_ALREADY_OWNED`, after the debugger was told which lock it is; and `SpinLock::statistics` tells how
/// often the lock was taken, how often another processor had it, and how long it was held at the most. Taking it
/// then is raising the IRQL first, in a step of its own.
///
/// WDK: "Introduction to Spin Locks".
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

// SAFETY: the lock gives the value to one thread at a time, which is what sending it asks of `T`.
unsafe impl<T: Send, C> Sync for SpinLock<T, C> {}

impl<T, C: LockClass> SpinLock<T, C> {
    /// Initialises a free lock around a value, or around what an initialiser makes in its place
    /// (`KeInitializeSpinLock`).
    ///
    /// WDK: "`KeInitializeSpinLock` function".
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: impl Init<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- RawSpinLock::new(),
            debug: LockDebug::new(),
            value <- in_cell(value),
            _class: PhantomData,
        })
    }

    /// Raises the IRQL to `DISPATCH_LEVEL` and takes the lock (`KeAcquireSpinLock`).
    ///
    /// WDK: "`KeAcquireSpinLock` macro".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn lock<'a, L: AtMostDispatch>(&'a self, _irql: &'a mut L) -> SpinLockGuard<'a, T, C>
    where
        C: LockAfter<L::Held>,
    {
        // SAFETY: the lock was initialised where it is, and the token says that the IRQL is at most
        // DISPATCH_LEVEL. The guard releases it.
        let old_irql = unsafe { self.debug.acquire::<Self>(self.lock.raw()) };
        self.guard(RestoreIrql(old_irql))
    }

    /// Takes the lock where the IRQL already is `DISPATCH_LEVEL` (`KeAcquireSpinLockAtDpcLevel`).
    ///
    /// WDK: "`KeAcquireSpinLockAtDpcLevel` macro".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn lock_at_dpc<'a, D: Dispatch>(&'a self, _irql: &'a mut D) -> SpinLockAtDpcGuard<'a, T, C>
    where
        C: LockAfter<D::Held>,
    {
        // SAFETY: the lock was initialised where it is, and the token says that the IRQL is
        // DISPATCH_LEVEL. The guard releases it.
        unsafe { self.debug.acquire_at_dpc::<Self>(self.lock.raw()) };
        self.guard(KeepIrql)
    }

    /// Takes the lock where the IRQL already is `DISPATCH_LEVEL`, unless it is held
    /// (`KeTryToAcquireSpinLockAtDpcLevel`).
    ///
    /// WDK: "`KeTryToAcquireSpinLockAtDpcLevel` function".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
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

    /// Runs a closure with the lock held, as [`SpinLock::lock`] takes it.
    ///
    /// The closure gets the value, and the token with which it may take further locks.
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

    /// Runs a closure with two locks of one class held, taken in the order of their addresses; `None` if both are
    /// the same lock.
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
            // SAFETY: the IRQL is DISPATCH_LEVEL while `outer` lives. Every thread takes locks of this class in the
            // order of their addresses.
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

    /// Takes the lock while another one of its class is held.
    ///
    /// # Safety
    /// The IRQL is `DISPATCH_LEVEL` while the guard lives, and the lock does not come before one that is held.
    unsafe fn lock_second(&self) -> SpinLockAtDpcGuard<'_, T, C> {
        // SAFETY: the lock was initialised where it is; the rest is passed on to the caller.
        unsafe { self.debug.acquire_at_dpc::<Self>(self.lock.raw()) };
        self.guard(KeepIrql)
    }

    /// What the lock has counted so far.
    ///
    /// # IRQL
    /// Any.
    #[cfg(feature = "lock-debug")]
    pub fn statistics(&self) -> crate::LockStatistics {
        self.debug.statistics()
    }

    /// The guard of the lock, which the caller has just taken at `DISPATCH_LEVEL`.
    fn guard<R: Release>(&self, release: R) -> Guard<'_, T, C, R> {
        Guard {
            lock: self,
            release,
            // SAFETY: the lock is held, at DISPATCH_LEVEL, while the guard lives, and the token cannot be
            // reached but through the guard. Whoever takes another lock borrows the token to do so.
            held: unsafe { SpinLockHeld::assume() },
        }
    }
}

/// A `KSPIN_LOCK` in its place: for a [`SpinLock`], or for what takes a lock of its own to itself.
#[pin_data]
pub(crate) struct RawSpinLock {
    #[pin]
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the lock is a word that only the kernel's routines touch, from any thread.
unsafe impl Sync for RawSpinLock {}

impl RawSpinLock {
    /// Initialises a free lock (`KeInitializeSpinLock`).
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { lock <- initialised(), _pinned: PhantomPinned })
    }

    /// The lock as the kernel's routines take it.
    pub(crate) fn raw(&self) -> *mut nt::KSPIN_LOCK {
        self.lock.get()
    }
}

/// The initialiser of a value inside a cell, in its place.
pub(crate) fn in_cell<T>(value: impl Init<T>) -> impl Init<UnsafeCell<T>> {
    let initialise = |slot: *mut UnsafeCell<T>| {
        // SAFETY: the slot is valid for writes, and so is what is in the cell.
        unsafe { value.__init(UnsafeCell::raw_get(slot)) }
    };
    // SAFETY: the closure initialises the slot if it succeeds, and leaves nothing in it if it fails.
    unsafe { init_from_closure(initialise) }
}

/// The initialiser of the raw lock, in its place.
fn initialised() -> impl PinInit<UnsafeCell<nt::KSPIN_LOCK>> {
    let initialise = |slot: *mut UnsafeCell<nt::KSPIN_LOCK>| {
        // SAFETY: the slot is valid for writes, and the lock stays there.
        unsafe { nt::KeInitializeSpinLock(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

/// A [`SpinLock`] taken with [`SpinLock::lock`]; dropping it releases the lock and restores the IRQL.
pub type SpinLockGuard<'a, T, C = Alone> = Guard<'a, T, C, RestoreIrql>;

/// A [`SpinLock`] taken with [`SpinLock::lock_at_dpc`]; dropping it releases the lock and leaves the IRQL
/// at `DISPATCH_LEVEL`.
pub type SpinLockAtDpcGuard<'a, T, C = Alone> = Guard<'a, T, C, KeepIrql>;

/// How a guard releases its lock.
pub trait Release: sealed::Sealed {}

mod sealed {
    use super::{KeepIrql, RestoreIrql};
    use crate::ke::lock_debug::LockDebug;

    pub trait Sealed {
        /// Releases the lock.
        ///
        /// # Safety
        /// The lock was taken in the way that belongs to this one, and the IRQL is `DISPATCH_LEVEL`.
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK);
    }

    impl Sealed for RestoreIrql {
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: passed on to the caller; the IRQL is what the acquisition returned.
            unsafe { debug.release(lock, self.0) };
        }
    }

    impl Sealed for KeepIrql {
        unsafe fn release(&self, debug: &LockDebug, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: passed on to the caller.
            unsafe { debug.release_from_dpc(lock) };
        }
    }
}

/// The release restores the IRQL that the lock was taken at (`KeReleaseSpinLock`).
pub struct RestoreIrql(u8);

/// The release leaves the IRQL at `DISPATCH_LEVEL` (`KeReleaseSpinLockFromDpcLevel`).
pub struct KeepIrql;

impl Release for RestoreIrql {}
impl Release for KeepIrql {}

/// A [`SpinLock`] that is held; dropping it releases the lock as it was taken.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a, T, C, R: Release> {
    lock: &'a SpinLock<T, C>,
    release: R,
    held: SpinLockHeld<C>,
}

impl<T, C: LockClass, R: Release> Guard<'_, T, C, R> {
    /// Lends the value and the token of the held lock, with which a second lock can be taken.
    pub fn split(&mut self) -> (&mut T, &mut SpinLockHeld<C>) {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` is the only way to it.
        let value = unsafe { &mut *self.lock.value.get() };
        (value, &mut self.held)
    }
}

impl<T, C> SpinLockGuard<'_, T, C> {
    /// The IRQL that the release restores: what `KeAcquireSpinLock` stored in C.
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
        // SAFETY: this guard took the lock in the way that `release` belongs to. A later guard borrows this
        // one's token and is gone, and so is whoever raised the IRQL before; so it is still DISPATCH_LEVEL.
        unsafe { self.release.release(&self.lock.debug, self.lock.lock.raw()) };
    }
}
