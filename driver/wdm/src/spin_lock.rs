//! Spin locks that own what they protect.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ops::{Deref, DerefMut},
};

use pinned_init::{PinInit, pin_data, pin_init, pin_init_from_closure};

use crate::irql::{AtMostDispatch, Dispatch, SpinLockHeld};

/// A value that is reached with its spin lock held, and not otherwise (`KSPIN_LOCK`).
///
/// Taking the lock raises the IRQL to `DISPATCH_LEVEL` and borrows the caller's token until the guard is
/// gone; so while it is held nothing can wait or complete an IRP, and locks are released in the reverse
/// order of their taking, each to the IRQL that its own taking found. Hold it for 25 microseconds at
/// the most. Taking it again while it is held deadlocks, as in C.
///
/// The lock may not move: it is initialised where it stays, with `pinned-init`.
///
/// # A forgotten guard
///
/// [`SpinLock::with`] has no guard that could be forgotten, and is the way to prefer. A guard that is
/// given to [`core::mem::forget`] leaves the lock held and the IRQL raised for good, and the caller's
/// token no longer tells the truth. No memory is at risk by that, since nobody can get at the value
/// again; but the processor is lost to the system, which stops: the next taker spins for ever, a wait is
/// bug check 0xB8, a return from the dispatch routine 0xC9 under Driver Verifier.
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
///     reads: SpinLock<u64>,
///     #[pin]
///     bytes: SpinLock<u64>,
/// }
///
/// impl Statistics {
///     fn new() -> impl PinInit<Self> {
///         pin_init!(Self { reads <- SpinLock::new(0), bytes <- SpinLock::new(0) })
///     }
///
///     fn count(&self, length: u64, irql: &mut PassiveLevel) {
///         self.reads.with(irql, |reads, held| {
///             *reads += 1;
///             *self.bytes.lock_at_dpc(held) += length;
///         });
///     }
/// }
/// # fn main() {}
/// ```
#[pin_data]
pub struct SpinLock<T> {
    #[pin]
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    value: UnsafeCell<T>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the lock gives the value to one thread at a time, which is what sending it asks of `T`.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Initialises a free lock around a value (`KeInitializeSpinLock`).
    ///
    /// WDK: "`KeInitializeSpinLock` function".
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- initialised(),
            value: UnsafeCell::new(value),
            _pinned: PhantomPinned,
        })
    }

    /// Raises the IRQL to `DISPATCH_LEVEL` and takes the lock (`KeAcquireSpinLock`).
    ///
    /// WDK: "`KeAcquireSpinLock` macro".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn lock<'a, L: AtMostDispatch>(&'a self, _irql: &'a mut L) -> SpinLockGuard<'a, T> {
        // SAFETY: the lock was initialised where it is, and the token says that the IRQL is at most
        // DISPATCH_LEVEL. This is KeAcquireSpinLock, which is a macro.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        SpinLockGuard {
            lock: self,
            old_irql,
            // SAFETY: the lock is held, at DISPATCH_LEVEL, while the guard lives, and the token cannot
            // be reached but through the guard.
            held: unsafe { SpinLockHeld::assume() },
        }
    }

    /// Takes the lock where the IRQL already is `DISPATCH_LEVEL` (`KeAcquireSpinLockAtDpcLevel`).
    ///
    /// WDK: "`KeAcquireSpinLockAtDpcLevel` macro".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn lock_at_dpc<'a, D: Dispatch>(&'a self, _irql: &'a mut D) -> SpinLockAtDpcGuard<'a, T> {
        // SAFETY: the lock was initialised where it is, and the token says that the IRQL is
        // DISPATCH_LEVEL.
        unsafe { nt::KeAcquireSpinLockAtDpcLevel(self.lock.get()) };
        SpinLockAtDpcGuard {
            lock: self,
            // SAFETY: as in `lock`.
            held: unsafe { SpinLockHeld::assume() },
        }
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
        f: impl FnOnce(&mut T, &mut SpinLockHeld) -> R,
    ) -> R {
        let mut guard = self.lock(irql);
        let (value, held) = guard.split();
        f(value, held)
    }
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
#[must_use = "the lock is released when the guard is dropped"]
pub struct SpinLockGuard<'a, T> {
    lock: &'a SpinLock<T>,
    old_irql: u8,
    held: SpinLockHeld,
}

impl<T> SpinLockGuard<'_, T> {
    /// Lends the value and the token of the held lock, with which a second lock can be taken.
    pub fn split(&mut self) -> (&mut T, &mut SpinLockHeld) {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` is the only way to it.
        let value = unsafe { &mut *self.lock.value.get() };
        (value, &mut self.held)
    }
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.split().0
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock with KeAcquireSpinLockRaiseToDpc and kept what that returned.
        // A later guard borrows this one's token and is gone, so the IRQL is still DISPATCH_LEVEL.
        unsafe { nt::KeReleaseSpinLock(self.lock.lock.get(), self.old_irql) };
    }
}

/// A [`SpinLock`] taken with [`SpinLock::lock_at_dpc`]; dropping it releases the lock and leaves the IRQL
/// at `DISPATCH_LEVEL`.
#[must_use = "the lock is released when the guard is dropped"]
pub struct SpinLockAtDpcGuard<'a, T> {
    lock: &'a SpinLock<T>,
    held: SpinLockHeld,
}

impl<T> SpinLockAtDpcGuard<'_, T> {
    /// Lends the value and the token of the held lock, with which a further lock can be taken.
    pub fn split(&mut self) -> (&mut T, &mut SpinLockHeld) {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` is the only way to it.
        let value = unsafe { &mut *self.lock.value.get() };
        (value, &mut self.held)
    }
}

impl<T> Deref for SpinLockAtDpcGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockAtDpcGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.split().0
    }
}

impl<T> Drop for SpinLockAtDpcGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock with KeAcquireSpinLockAtDpcLevel, and the IRQL has been
        // DISPATCH_LEVEL since: whoever raised to it is still borrowed by this guard.
        unsafe { nt::KeReleaseSpinLockFromDpcLevel(self.lock.lock.get()) };
    }
}
