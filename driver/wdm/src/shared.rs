//! Values that several owners share.

use alloc::boxed::Box;
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering, fence},
};

use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{NtStatus, Record, irql::NoSpinLockHeld, pool};

/// A value in the nonpaged pool that lives as long as any of its owners; it does not move.
///
/// It is what [`alloc::sync::Arc`] is elsewhere, but says so when there is no memory. A part of a device that
/// a queue's callbacks, a DPC and the dispatch routines all need is kept in one. In C it is reached through
/// the device extension, and freed with it while a DPC still runs.
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedLong, NtStatus, PassiveLevel, Shared};
///
/// fn two_owners(irql: &mut PassiveLevel) -> Result<i32, NtStatus> {
///     let one: Shared<InterlockedLong> = Shared::new(Ok::<_, NtStatus>(InterlockedLong::new(1)), irql)?;
///     let other = one.clone();
///     other.increment();
///     Ok(one.read())
/// }
/// ```
pub struct Shared<T> {
    inner: NonNull<Inner<T>>,
}

#[pin_data]
struct Inner<T> {
    owners: AtomicUsize,
    #[pin]
    value: T,
}

// SAFETY: owners in several threads share the value, and the last one, in any thread, drops it.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above, since a shared reference makes a new owner.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Makes a value with one owner.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory, and what the initialiser says.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn new<E, L: NoSpinLockHeld>(
        init: impl PinInit<T, E>,
        _irql: &mut L,
    ) -> Result<Self, NtStatus>
    where
        NtStatus: From<E>,
    {
        let inner = pool::allocate(try_pin_init!(Inner {
            owners: AtomicUsize::new(1),
            value <- init,
        }? NtStatus))?;
        // SAFETY: what was allocated is not NULL.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Ok(Self { inner })
    }

    /// Whether there is no other owner, and none can come while `self` is borrowed as changeable.
    pub(crate) fn is_only_owner(&mut self) -> bool {
        // Acquire, so that what other owners did before they went is seen.
        self.inner().owners.load(Ordering::Acquire) == 1
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: the value lives as long as this owner does.
        unsafe { self.inner.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    /// Makes another owner.
    fn clone(&self) -> Self {
        // Each owner takes memory for its pointer, so there are fewer than a usize can count, but for those
        // that are forgotten in a loop that runs for centuries.
        self.inner().owners.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release, so that what this owner did is done before; Acquire, so that the last one sees it.
        if self.inner().owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last owner, and `allocate` made the value.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

// SAFETY: the pointer is the owner's own; what several of them share is `Sync`.
unsafe impl<T: Send + Sync + 'static> Record for Shared<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        ManuallyDrop::new(self).inner.as_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller gives what `into_raw` gave, which is not NULL.
        let inner = unsafe { NonNull::new_unchecked(raw.cast()) };
        Self { inner }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller says that the owner is there as long as the reference.
        let inner = unsafe { &*raw.cast::<Inner<T>>() };
        &inner.value
    }
}
