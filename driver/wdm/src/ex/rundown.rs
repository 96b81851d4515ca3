//! Run-down protection.

use core::{cell::UnsafeCell, marker::PhantomPinned, sync::atomic::Ordering};

use nt::atomic::AtomicBool;
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error,
    ke::{
        critical_region::CriticalRegion,
        irql::{self, AtMostDispatch, ObjectHeld, Waitable},
        on_drop::OnDrop,
    },
};

/// A value that many threads access until one of them runs it down (`EX_RUNDOWN_REF`).
///
/// Use it for an object that can be removed at any time while it is in use, such as a provider that other drivers call. An access
/// costs one interlocked operation and never waits. The thread that runs the value down makes further accesses fail, waits for the
/// accesses in progress, and receives the value.
///
/// WDK: [Run-Down Protection](https://learn.microsoft.com/windows-hardware/drivers/kernel/run-down-protection).
///
/// # Examples
///
/// ```
/// use wdm::{PassiveLevel, Rundown};
///
/// fn length(name: &Rundown<Vec<u8>>, irql: &mut PassiveLevel) -> usize {
///     name.access(irql, |name, _| name.len()).unwrap_or(0)
/// }
///
/// fn close(name: &Rundown<Vec<u8>>, irql: &mut PassiveLevel) {
///     drop(name.run_down(irql));
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver uses the object although `ExAcquireRundownProtection` has returned `FALSE`; does not release the protection on an error
/// path, so that the wait never ends; frees the object before the wait; or runs the object down while the same thread accesses it,
/// which waits for itself. Here the value is lent for the duration of a closure, whose token allows neither a wait nor a call of
/// another driver.
#[doc(alias = "EX_RUNDOWN_REF")]
#[doc(alias = "ExAcquireRundownProtection")]
#[pin_data]
pub struct Rundown<T> {
    #[pin]
    reference: RundownRef,
    #[pin]
    _pinned: PhantomPinned,
    is_run_down: AtomicBool,
    /// `None` after it was run down.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is sent with it.
unsafe impl<T: Send> Send for Rundown<T> {}
// SAFETY: the value is lent to several threads at a time, which requires `T: Sync`, and given to another thread, which requires
// `T: Send`.
unsafe impl<T: Send + Sync> Sync for Rundown<T> {}

impl<T> Rundown<T> {
    /// Initialises the protection of a value (`ExInitializeRundownProtection`).
    ///
    /// WDK:
    /// [ExInitializeRundownProtection](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializerundownprotection).
    ///
    /// # IRQL
    /// At most `APC_LEVEL` when the initialiser runs.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_STATE` if the initialiser runs at `DISPATCH_LEVEL`, as [`Shared::new`](crate::Shared::new) can.
    #[doc(alias = "ExInitializeRundownProtection")]
    pub fn new(value: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            reference <- RundownRef::new(),
            _pinned: PhantomPinned,
            is_run_down: AtomicBool::new(false),
            value: UnsafeCell::new(Some(value)),
        }? Error)
    }

    /// Calls a closure with the value, unless its run-down has begun (`ExAcquireRundownProtection`, `ExReleaseRundownProtection`).
    ///
    /// WDK:
    /// [ExAcquireRundownProtection](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirerundownprotection).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`. The closure gets a token with which it may neither wait nor complete an IRP: so neither it nor a
    /// driver that it calls runs down the value, which would wait for the closure forever. Nor does a value that the closure drops: a
    /// work item waits for a [`Thread`](crate::Thread), and a [`Dpc`](crate::Dpc) or [`Timer`](crate::Timer) waits for its routine, which
    /// does not wait itself.
    #[doc(alias = "ExAcquireRundownProtection")]
    #[doc(alias = "ExReleaseRundownProtection")]
    #[doc(alias = "KeAreAllApcsDisabled")]
    #[doc(alias = "KeEnterCriticalRegion")]
    #[doc(alias = "KeLeaveCriticalRegion")]
    pub fn access<L: AtMostDispatch, R>(
        &self,
        irql: &mut L,
        f: impl FnOnce(&T, &mut ObjectHeld<L::Held>) -> R,
    ) -> Option<R> {
        // A suspended thread would keep the thread that runs down the value waiting.
        let _region = CriticalRegion::enter_if_needed(irql);
        if !self.reference.acquire() {
            return None;
        }
        // SAFETY: the access was begun above, and `self` is borrowed until it is ended here.
        let _release = OnDrop(|| unsafe { RundownRef::release(&raw const self.reference) });
        // SAFETY: the value is taken only after all accesses have ended.
        let value = unsafe { &*self.value.get() };
        // SAFETY: the caller's token states the same IRQL and lock, and is borrowed until the closure returns.
        let irql = &mut unsafe { ObjectHeld::assume() };
        value.as_ref().map(|value| f(value, irql))
    }

    /// Makes further accesses fail, waits for those that have begun, and returns the value
    /// (`ExWaitForRundownProtectionRelease`).
    ///
    /// If another call has begun, it returns `None` immediately.
    ///
    /// WDK:
    /// [ExWaitForRundownProtectionRelease](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exwaitforrundownprotectionrelease).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "ExWaitForRundownProtectionRelease")]
    pub fn run_down<L: Waitable>(&self, irql: &mut L) -> Option<T> {
        if self.is_run_down.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: only one caller reaches this point.
        unsafe { self.reference.wait(irql) };
        // SAFETY: the accesses have ended, and new ones fail, so only this thread uses the value.
        unsafe { &mut *self.value.get() }.take()
    }
}

/// An `EX_RUNDOWN_REF`: a count of accesses, and whether further ones fail.
#[repr(transparent)]
pub(crate) struct RundownRef(UnsafeCell<nt::EX_RUNDOWN_REF>);

// SAFETY: only the kernel's routines access the variable, and any thread may call them.
unsafe impl Send for RundownRef {}
// SAFETY: as above.
unsafe impl Sync for RundownRef {}

impl RundownRef {
    /// Makes a variable without accesses, to be initialised in place with [`RundownRef::initialise`].
    pub(crate) const fn uninitialised() -> Self {
        Self(UnsafeCell::new(nt::EX_RUNDOWN_REF { Count: 0 }))
    }

    /// Initialises the variable in place (`ExInitializeRundownProtection`), except at `DISPATCH_LEVEL`.
    fn new() -> impl PinInit<Self, Error> {
        let initialise = |slot: *mut Self| {
            if irql::current() >= irql::DISPATCH_LEVEL {
                return Err(Error::INVALID_DEVICE_STATE);
            }
            // SAFETY: the slot is valid for writes, no other code uses it yet, and the IRQL is at most APC_LEVEL.
            unsafe { nt::ExInitializeRundownProtection(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot if it succeeds.
        unsafe { pin_init_from_closure(initialise) }
    }

    /// Initialises the variable in place (`ExInitializeRundownProtection`).
    ///
    /// # Safety
    /// No other code uses it yet, and the IRQL is at most `APC_LEVEL`.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { nt::ExInitializeRundownProtection(self.0.get()) };
    }

    /// Begins an access; returns `false` if the object is being run down (`ExAcquireRundownProtection`).
    pub(crate) fn acquire(&self) -> bool {
        // SAFETY: the variable was initialised. The IRQL must be at most DISPATCH_LEVEL, and no code of this crate runs
        // above it.
        unsafe { nt::ExAcquireRundownProtection(self.0.get()) != 0 }
    }

    /// Ends an access (`ExReleaseRundownProtection`).
    ///
    /// # Safety
    /// [`RundownRef::acquire`] returned `true` for it, and the access has not been ended yet. When this returns, the variable may have been
    /// freed.
    pub(crate) unsafe fn release(this: *const Self) {
        // SAFETY: the access keeps the variable until this release. The IRQL is at most DISPATCH_LEVEL, as above.
        unsafe { nt::ExReleaseRundownProtection(this.cast_mut().cast()) };
    }

    /// Makes further accesses fail and waits until the others have ended (`ExWaitForRundownProtectionRelease`).
    ///
    /// # Safety
    /// Called once.
    pub(crate) unsafe fn wait<L: Waitable>(&self, _irql: &mut L) {
        // SAFETY: the variable was initialised, and the token says that the thread may wait.
        unsafe { nt::ExWaitForRundownProtectionRelease(self.0.get()) };
    }
}
