//! Values that several owners share.

use alloc::boxed::Box;
use core::{
    cell::UnsafeCell,
    mem::{ManuallyDrop, needs_drop},
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering, fence},
};

use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    DeviceObject, Error, PassiveLevel, Record,
    ex::pool,
    io::device_object::Deferred,
    ke::irql::{self, NoSpinLockHeld},
};

/// A value in the nonpaged pool that lives as long as any of its owners; it does not move.
///
/// It is what [`alloc::sync::Arc`] is elsewhere, but reports if there is no memory. A part of a device that
/// a queue's callbacks, a DPC and the dispatch routines all need is kept in one. In C it is reached through
/// the device extension, and freed with it while a DPC still runs.
///
/// The last owner may be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held. The value itself is
/// always dropped at `PASSIVE_LEVEL`: if the last owner goes above, by a work item of the device object, which stays
/// until that has run. So a [`Timer`](crate::Timer) in a `Shared` may be given up by its own DPC.
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, InterlockedLong, PassiveLevel, Shared};
///
/// fn two_owners(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<i32, Error> {
///     let one: Shared<InterlockedLong> = Shared::new(InterlockedLong::new(1), device, irql)?;
///     let other = one.clone();
///     other.increment();
///     Ok(one.read())
/// }
/// ```
pub struct Shared<T> {
    inner: NonNull<Inner<T>>,
}

/// # Invariants
///
/// `deferred` is used by the thread that has dropped the last owner, and by nobody before.
#[pin_data]
#[repr(C)]
struct Inner<T> {
    deferred: UnsafeCell<Deferred>,
    owners: AtomicUsize,
    /// Whose work item drops the value if the last owner is dropped above `PASSIVE_LEVEL`. Without one it is dropped
    /// where the last owner is: this crate's own values may be.
    device: Option<DeviceObject>,
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
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory, and what the initialiser returns.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn new<E, L: NoSpinLockHeld>(
        init: impl PinInit<T, E>,
        device: &DeviceObject,
        _irql: &mut L,
    ) -> Result<Self, Error>
    where
        T: Send + 'static,
        Error: From<E>,
    {
        Self::allocate(init, Some(device.clone()))
    }

    /// Makes a value with one owner, whose drop may run at any IRQL up to `DISPATCH_LEVEL` and while any lock is held.
    pub(crate) fn droppable_anywhere<E>(init: impl PinInit<T, E>) -> Result<Self, Error>
    where
        Error: From<E>,
    {
        Self::allocate(init, None)
    }

    /// Makes a value with one owner. Without a device object, [`Shared::droppable_anywhere`] says what that asks for.
    pub(crate) fn allocate<E>(
        init: impl PinInit<T, E>,
        device: Option<DeviceObject>,
    ) -> Result<Self, Error>
    where
        Error: From<E>,
    {
        let inner = pool::allocate(try_pin_init!(Inner {
            deferred: UnsafeCell::new(Deferred::new(Self::destroy)),
            owners: AtomicUsize::new(1),
            device,
            value <- init,
        }? Error))?;
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

    /// Drops the value, which has no owner any more.
    ///
    /// # Safety
    /// `link` is the first field of a block that [`Shared::allocate`] made, whose last owner is gone; called once.
    unsafe fn destroy(link: NonNull<Deferred>, _irql: &mut PassiveLevel) {
        // SAFETY: the block starts with the link, and the pointer is the one to the whole block.
        drop(unsafe { Box::from_raw(link.as_ptr().cast::<Inner<T>>()) });
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
        // At PASSIVE_LEVEL no spin lock is held and the thread may wait, so whatever the value does when it is dropped is
        // allowed. A value that does nothing may go anywhere.
        if needs_drop::<T>()
            && let Some(device) = &self.inner().device
            && !irql::is_passive()
        {
            // A reference of its own, since the work item may free the block before `defer` has returned.
            let device = device.clone();
            // SAFETY: this was the last owner, so the block stays until the routine is called with it. The worker thread
            // may drop the value, and later than here: `new` asks for `Send` and `'static`.
            unsafe { device.defer(self.inner.cast()) };
            return;
        }
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
