//! Reference-counted values.

use alloc::boxed::Box;
use core::{
    cell::UnsafeCell,
    mem::{ManuallyDrop, needs_drop},
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{Ordering, fence},
};

use nt::atomic::AtomicUsize;
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    DeviceObject, Error, PassiveLevel, Record,
    ex::pool,
    io::device_object::Deferred,
    ke::irql::{self, NoSpinLockHeld},
};

/// A reference-counted value in nonpaged pool, which does not move.
///
/// It is like [`alloc::sync::Arc`], but its constructor fails if there is no memory. Use it for a part of a device
/// that several of its parts need, such as a queue's callbacks, a DPC and the dispatch routines. It replaces a
/// pointer into the device extension.
///
/// The last owner can be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held. The value itself is
/// always dropped at `PASSIVE_LEVEL`: if the last owner is dropped at a higher IRQL, a work item drops the value,
/// and the device object stays until the work item has run. So the DPC of a [`Timer`](crate::Timer) can drop the
/// last owner of a `Shared` that contains the timer.
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

#[pin_data]
#[repr(C)]
struct Inner<T> {
    head: Head,
    #[pin]
    value: T,
}

/// What does not depend on the type of the value.
///
/// # Invariants
///
/// Only the thread that has dropped the last owner uses `deferred`.
#[repr(C)]
struct Head {
    deferred: UnsafeCell<Deferred>,
    owners: AtomicUsize,
    /// The device object whose work item drops the value if the last owner is dropped above `PASSIVE_LEVEL`. If
    /// there is none, the value is dropped in place, which the types of this crate that use it allow.
    device: Option<DeviceObject>,
}

// SAFETY: owners in several threads share the value, and the last one drops it, in any thread.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above, since a shared reference can be cloned into a new owner.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Makes a value with one owner, from the value or an in-place initialiser of it.
    ///
    /// Pass a value as it is. With `Ok::<_, Error>(value)`, which other constructors take, the type has to be named, since the value
    /// of the `Shared` could also be the `Result`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `init`.
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

    /// Makes a value with one owner. The value's drop may run at any IRQL up to `DISPATCH_LEVEL` and while any lock
    /// is held.
    pub(crate) fn droppable_anywhere<E>(init: impl PinInit<T, E>) -> Result<Self, Error>
    where
        Error: From<E>,
    {
        Self::allocate(init, None)
    }

    /// Makes a value with one owner. If `device` is `None`, the value must be one for
    /// [`Shared::droppable_anywhere`].
    pub(crate) fn allocate<E>(
        init: impl PinInit<T, E>,
        device: Option<DeviceObject>,
    ) -> Result<Self, Error>
    where
        Error: From<E>,
    {
        let inner = pool::allocate(try_pin_init!(Inner {
            head: Head {
                deferred: UnsafeCell::new(Deferred::new(Self::destroy)),
                owners: AtomicUsize::new(1),
                device,
            },
            value <- init,
        }? Error))?;
        // SAFETY: an allocation is not NULL.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Ok(Self { inner })
    }

    /// Returns whether this is the only owner. No other can be made while `self` is mutably borrowed.
    pub(crate) fn is_only_owner(&mut self) -> bool {
        // Acquire, so that the writes of owners that were dropped are visible.
        self.inner().head.owners.load(Ordering::Acquire) == 1
    }

    /// Returns the device that the value was made for.
    pub(crate) fn device(this: &Self) -> Option<&DeviceObject> {
        this.inner().head.device.as_ref()
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: the value lives as long as this owner.
        unsafe { self.inner.as_ref() }
    }

    /// Drops the value after its last owner was dropped. The token is not used: without a device the value may be dropped
    /// at any IRQL.
    ///
    /// # Safety
    /// `link` is the first field of a block that [`Shared::allocate`] made and that has no owner left. Called
    /// once for it.
    unsafe fn destroy(link: NonNull<Deferred>, _irql: &mut PassiveLevel) {
        // SAFETY: the block starts with the link, and the pointer may access the whole block.
        drop(unsafe { Box::from_raw(link.as_ptr().cast::<Inner<T>>()) });
    }
}

impl<T> Clone for Shared<T> {
    /// Makes another owner.
    fn clone(&self) -> Self {
        // Each owner occupies memory, so the count cannot overflow, unless a driver forgets owners in a loop for
        // centuries.
        self.inner().head.owners.fetch_add(1, Ordering::Relaxed);
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
        // Release, so that this owner's accesses come before; Acquire below, so that the last owner sees them.
        if self.inner().head.owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        if needs_drop::<T>() {
            // SAFETY: this was the last owner, and the block starts with its head.
            unsafe { release(self.inner.cast()) };
        } else {
            // It can be freed at any IRQL.
            // SAFETY: this was the last owner, and `allocate` made the value.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

/// Drops a value that has drop code, after its last owner was dropped: here, or in a work item of the device.
///
/// # Safety
/// `head` is that of a block that [`Shared::allocate`] made and that has no owner left. Called once for it.
// Not generic, so that it is compiled once.
#[inline(never)]
unsafe fn release(head: NonNull<Head>) {
    // SAFETY: nothing frees the block before the calls below.
    let device = unsafe { &(*head.as_ptr()).device };
    // At PASSIVE_LEVEL no spin lock is held and the thread may wait, so any drop code may run.
    if let Some(device) = device
        && !irql::is_passive()
    {
        // A second reference, since the work item may free the block before `defer` returns.
        let device = device.clone();
        // SAFETY: there is no owner, so the block stays until the routine is called with it. The worker thread may
        // drop the value, and later: `new` requires `Send` and `'static`.
        unsafe { device.defer(head.cast()) };
        return;
    }
    // SAFETY: the IRQL is PASSIVE_LEVEL, or there is no device and the routine, `Shared::destroy`, does not use the token.
    let mut irql = unsafe { PassiveLevel::assume() };
    // SAFETY: the link is on no list, there is no owner, and the routine is called once.
    unsafe { Deferred::run(head.cast(), &mut irql) };
}

// SAFETY: the pointer stands for one owner; the value that owners share is `Sync`.
unsafe impl<T: Send + Sync + 'static> Record for Shared<T> {
    type Target = T;

    fn into_raw(self) -> *mut () {
        ManuallyDrop::new(self).inner.as_ptr().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller passes a pointer from `into_raw`, which is not NULL.
        let inner = unsafe { NonNull::new_unchecked(raw.cast()) };
        Self { inner }
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a T {
        // SAFETY: the caller guarantees that the owner outlives the reference.
        let inner = unsafe { &*raw.cast::<Inner<T>>() };
        &inner.value
    }
}
