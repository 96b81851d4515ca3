//! Mutexes.

use core::{cell::UnsafeCell, convert::Infallible, marker::PhantomPinned};

use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::ke::{
    irql::{ObjectHeld, Waitable},
    lock_order::Unlocked,
    on_drop::OnDrop,
    place::Place,
};

/// A value that one thread at a time can access, under a fast mutex (`FAST_MUTEX`).
///
/// Use it for code that takes longer than a section under a [`SpinLock`](crate::SpinLock) should, and is called by threads only:
/// a thread that waits for the mutex sleeps, and the closure can be preempted. The closure runs at `APC_LEVEL` and may acquire
/// spin locks. It may not wait, so it cannot acquire a second mutex, and mutexes need no order. It may not complete an IRP either,
/// since a completion routine of another driver could call this driver again, which would wait for the same mutex.
///
/// The mutex must be initialised in place, such as in a device's state or in a [`Shared`](crate::Shared).
///
/// WDK: [Fast Mutexes and Guarded Mutexes](https://learn.microsoft.com/windows-hardware/drivers/kernel/fast-mutexes-and-guarded-mutexes).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, Mutex, PassiveLevel, Shared};
///
/// fn table(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Shared<Mutex<[u32; 64]>>, Error> {
///     Shared::new(Mutex::new([0; 64]), device, irql)
/// }
///
/// fn sort(table: &Mutex<[u32; 64]>, irql: &mut PassiveLevel) {
///     table.with(irql, |values, _| values.sort_unstable());
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver acquires the mutex twice in one thread, or at `DISPATCH_LEVEL`, which hangs the system; or it calls a routine under the
/// mutex that requires `PASSIVE_LEVEL`, such as `ZwReadFile`. Here the mutex requires the
/// [`PassiveLevel`](crate::PassiveLevel) token, and borrows it until it is released.
#[doc(alias = "FAST_MUTEX")]
#[doc(alias = "KMUTEX")]
#[doc(alias = "KGUARDED_MUTEX")]
#[pin_data]
pub struct Mutex<T> {
    #[pin]
    object: UnsafeCell<nt::FAST_MUTEX>,
    place: Place,
    #[pin]
    _pinned: PhantomPinned,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex is not tied to a thread while it is not held, and the value is sent with it.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: the mutex lends the value to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// Initialises a mutex that is not held (`ExInitializeFastMutex`).
    ///
    /// WDK: [ExInitializeFastMutex](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializefastmutex).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "ExInitializeFastMutex")]
    pub fn new(value: T) -> impl PinInit<Self> {
        try_pin_init!(&this in Self {
            object <- initialised(),
            place: Place::of(this),
            _pinned: PhantomPinned,
            value: UnsafeCell::new(value),
        }? Infallible)
    }

    /// Runs a closure with the mutex held (`ExAcquireFastMutex`, `ExReleaseFastMutex`).
    ///
    /// WDK: [ExAcquireFastMutex](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirefastmutex).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`; the closure runs at `APC_LEVEL`.
    #[doc(alias = "ExAcquireFastMutex")]
    #[doc(alias = "ExReleaseFastMutex")]
    pub fn with<L: Waitable, R>(
        &self,
        irql: &mut L,
        f: impl FnOnce(&mut T, &mut ObjectHeld<Unlocked>) -> R,
    ) -> R {
        // SAFETY: the mutex was initialised in place, and is borrowed until the release. The token says that the thread may
        // wait. It holds no mutex, since that would borrow the token.
        unsafe { nt::ExAcquireFastMutex(self.object()) };
        self.run(irql, f)
    }

    /// Runs a closure with the mutex held. If the mutex is not free, returns `None` immediately
    /// (`ExTryToAcquireFastMutex`).
    ///
    /// WDK:
    /// [ExTryToAcquireFastMutex](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-extrytoacquirefastmutex).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`; the closure runs at `APC_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{Mutex, PassiveLevel};
    ///
    /// /// Removes old values, unless another thread uses the table: then the next call does it.
    /// fn trim(table: &Mutex<[u32; 64]>, oldest: u32, irql: &mut PassiveLevel) -> bool {
    ///     let trim = |values: &mut [u32; 64]| {
    ///         for value in values.iter_mut().filter(|value| **value < oldest) {
    ///             *value = 0;
    ///         }
    ///     };
    ///     table.try_with(irql, |values, _| trim(values)).is_some()
    /// }
    /// ```
    #[doc(alias = "ExTryToAcquireFastMutex")]
    pub fn try_with<L: Waitable, R>(
        &self,
        irql: &mut L,
        f: impl FnOnce(&mut T, &mut ObjectHeld<Unlocked>) -> R,
    ) -> Option<R> {
        // SAFETY: as in `with`.
        let acquired = unsafe { nt::ExTryToAcquireFastMutex(self.object()) };
        (acquired != 0).then(|| self.run(irql, f))
    }

    /// Returns the pointer that the kernel's routines take.
    fn object(&self) -> *mut nt::FAST_MUTEX {
        self.place.check(self);
        self.object.get()
    }

    /// Runs a closure with the mutex held, which this thread has just acquired, and releases it.
    fn run<L: Waitable, R>(
        &self,
        _irql: &mut L,
        f: impl FnOnce(&mut T, &mut ObjectHeld<Unlocked>) -> R,
    ) -> R {
        // SAFETY: this thread has acquired the mutex. What the closure acquired borrowed the token, so it is released.
        let _release = OnDrop(|| unsafe { nt::ExReleaseFastMutex(self.object.get()) });
        // SAFETY: the mutex is held until `_release` is dropped, so no other thread accesses the value.
        let value = unsafe { &mut *self.value.get() };
        // SAFETY: a thread that holds a fast mutex runs at APC_LEVEL, until `_release` is dropped. It holds no spin lock, since that
        // would borrow the token.
        f(value, &mut unsafe { ObjectHeld::assume() })
    }
}

/// Initialises the object in place.
fn initialised() -> impl PinInit<UnsafeCell<nt::FAST_MUTEX>> {
    let initialise = |slot: *mut UnsafeCell<nt::FAST_MUTEX>| {
        // SAFETY: the slot is valid for writes, and the mutex stays there.
        unsafe { nt::ExInitializeFastMutex(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}
