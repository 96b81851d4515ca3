//! Timers: DPCs that the kernel queues when a timer expires.

use alloc::boxed::Box;
use core::{
    cell::UnsafeCell,
    ffi::c_void,
    marker::{PhantomData, PhantomPinned},
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull,
    time::Duration,
};

use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error,
    block::in_block,
    ke::{
        dpc::{FlushOnDrop, Importance, RawDpc},
        irql::{AtMostDispatch, DispatchLevel, Waitable},
        wait,
    },
};

/// The routine of a [`Timer`], implemented by the value that it works on (`KDEFERRED_ROUTINE`).
#[doc(alias = "KDEFERRED_ROUTINE")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no timer routine",
    note = "implement `wdm::TimerRoutine` for the type that the timer works on"
)]
pub trait TimerRoutine: Send + Sync + Sized + 'static {
    /// Runs the timer's DPC routine, which may set the timer again.
    ///
    /// The routine can run on two processors at once: a periodic timer, or one that was set again, can expire while the routine runs.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`.
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel);
}

/// A timer with its DPC, and the value that its routine works on (`KTIMER`, `KDPC`).
///
/// Dropping it cancels the timer and waits until the routine has returned. The rules of [`Dpc`](crate::Dpc) apply.
///
/// WDK: [Timer Objects and DPCs](https://learn.microsoft.com/windows-hardware/drivers/kernel/timer-objects-and-dpcs).
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use wdm::{Timer, TimerRoutine, irql::DispatchLevel};
///
/// struct Poll;
///
/// impl TimerRoutine for Poll {
///     fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
///         timer.set(Duration::from_millis(10), irql);
///     }
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver frees the timer after `KeCancelTimer`, while its DPC is still queued, is running, or is setting the
/// timer again.
#[doc(alias = "KeFlushQueuedDpcs")]
#[doc(alias = "KTIMER")]
#[doc(alias = "KDPC")]
pub struct Timer<C: TimerRoutine> {
    inner: NonNull<Inner<C>>,
    // Invariant: the DPC calls the routine of exactly this type.
    _routine: PhantomData<fn(C) -> C>,
}

/// The part of a timer that the kernel and the routine access. It is in a separate block, like that of a [`Dpc`](crate::Dpc).
#[pin_data]
struct Inner<C> {
    #[pin]
    raw: RawTimer,
    #[pin]
    dpc: RawDpc,
    guard: FlushOnDrop,
    #[pin]
    context: C,
}

// The bound is the routine's, not one on the context's fields: a context may own a request whose record is this
// timer, so a bound on the fields would refer to itself.
// SAFETY: only the kernel's routines access the timer and the DPC, and they may be called in any thread; the
// context is `Send`, as its routine's trait requires.
unsafe impl<C: TimerRoutine> Send for Timer<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: TimerRoutine> Sync for Timer<C> {}

impl<C: TimerRoutine> Timer<C> {
    /// Initialises a timer that is not set, and the value that its routine works on (`KeInitializeTimer`).
    ///
    /// WDK: [KeInitializeTimer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializetimer).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    #[doc(alias = "KeInitializeTimer")]
    #[track_caller]
    pub fn new(context: impl PinInit<C, Error>) -> impl PinInit<Self, Error> {
        let guard = FlushOnDrop::new();
        in_block(
            try_pin_init!(&this in Inner {
                context <- context,
                guard,
                raw <- RawTimer::new(),
                dpc <- RawDpc::new(routine::<C>, this.as_ptr().cast(), Importance::Medium),
            }? Error),
            Self::of,
        )
    }

    fn of(inner: NonNull<Inner<C>>) -> Self {
        Self {
            inner,
            _routine: PhantomData,
        }
    }

    fn inner(&self) -> &Inner<C> {
        // SAFETY: the block lives as long as this value.
        unsafe { self.inner.as_ref() }
    }

    /// Sets the timer to expire after an interval, and returns whether it was already set (`KeSetTimer`).
    ///
    /// The new due time replaces the old one. While another thread is in [`cancel_and_wait`](Timer::cancel_and_wait), the timer is not
    /// set.
    ///
    /// WDK: [KeSetTimer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettimer).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetTimer")]
    pub fn set<L: AtMostDispatch>(&self, due: Duration, _irql: &mut L) -> bool {
        let Inner {
            raw, dpc, guard, ..
        } = self.inner();
        if !guard.may_queue() {
            return false;
        }
        // SAFETY: both were initialised in their block, which only the drop frees, after it has waited for the routine. A
        // negative due time is relative.
        unsafe { nt::KeSetTimer(raw.object.get(), wait::relative(due), dpc.as_ptr()) != 0 }
    }

    /// Sets the timer to expire after an interval and then periodically, until it is set again or cancelled;
    /// returns whether it was already set (`KeSetTimerEx`).
    ///
    /// The period is rounded up to whole milliseconds, at least one and at most `i32::MAX`, which is about 24 days. The
    /// routine is not queued again while it is still queued, so it is called less often if it takes longer than the
    /// period. While another thread is in [`cancel_and_wait`](Timer::cancel_and_wait), the timer is not set.
    ///
    /// WDK: [KeSetTimerEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettimerex).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetTimerEx")]
    pub fn set_periodic<L: AtMostDispatch>(
        &self,
        due: Duration,
        period: Duration,
        _irql: &mut L,
    ) -> bool {
        let Inner {
            raw, dpc, guard, ..
        } = self.inner();
        if !guard.may_queue() {
            return false;
        }
        let period = period.as_nanos().div_ceil(1_000_000).max(1);
        let period = i32::try_from(period).unwrap_or(i32::MAX);
        // SAFETY: as in `set`.
        unsafe {
            nt::KeSetTimerEx(raw.object.get(), wait::relative(due), period, dpc.as_ptr()) != 0
        }
    }

    /// Cancels the timer, and returns whether it was set (`KeCancelTimer`).
    ///
    /// Its routine may still be queued or running. A timer that is not periodic is no longer set when it has expired, so `false` can
    /// mean that its routine is queued. A periodic timer stays set, so `true` says nothing about its routine: use
    /// [`cancel_and_wait`](Timer::cancel_and_wait) to wait for it.
    ///
    /// WDK: [KeCancelTimer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kecanceltimer).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeCancelTimer")]
    pub fn cancel<L: AtMostDispatch>(&self, _irql: &mut L) -> bool {
        // SAFETY: the timer was initialised in its block.
        unsafe { nt::KeCancelTimer(self.inner().raw.object.get()) != 0 }
    }

    /// Cancels the timer and waits until its routine is neither queued nor running; returns whether the timer was set or the
    /// routine queued (`KeCancelTimer`, `KeRemoveQueueDpc`, `KeFlushQueuedDpcs`).
    ///
    /// While it waits, nothing can set the timer: [`set`](Timer::set) does nothing and returns `false`. So the wait also ends
    /// for a routine that sets its timer again.
    ///
    /// WDK: [KeCancelTimer](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kecanceltimer),
    /// [KeRemoveQueueDpc](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremovequeuedpc),
    /// [KeFlushQueuedDpcs](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keflushqueueddpcs).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeCancelTimer")]
    #[doc(alias = "KeRemoveQueueDpc")]
    #[doc(alias = "KeFlushQueuedDpcs")]
    pub fn cancel_and_wait<L: Waitable>(&self, irql: &mut L) -> bool {
        let inner = self.inner();
        inner.guard.flush(|| inner.withdraw(), irql)
    }
}

impl<C> Inner<C> {
    /// Removes the timer and its DPC from the kernel's queues; returns whether one of them was queued.
    fn withdraw(&self) -> bool {
        // SAFETY: the timer was initialised in its block.
        let was_set = unsafe { nt::KeCancelTimer(self.raw.object.get()) != 0 };
        // SAFETY: so was the DPC.
        let was_queued = unsafe { nt::KeRemoveQueueDpc(self.dpc.as_ptr()) != 0 };
        was_set || was_queued
    }
}

impl<C: TimerRoutine> Deref for Timer<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner().context
    }
}

/// The `KDEFERRED_ROUTINE` of every timer.
///
/// # Safety
/// Called by the kernel, for a DPC whose context is the block that contains it.
unsafe extern "C" fn routine<C: TimerRoutine>(
    _dpc: *mut nt::KDPC,
    context: *mut c_void,
    _argument1: *mut c_void,
    _argument2: *mut c_void,
) {
    // SAFETY: the block is not NULL.
    let inner = unsafe { NonNull::new_unchecked(context.cast()) };
    // The block is valid, since the drop of its owner waits for this routine.
    let timer = ManuallyDrop::new(Timer::<C>::of(inner));
    // SAFETY: the kernel calls DPC routines at DISPATCH_LEVEL, and the driver holds no lock here.
    C::run(&timer, &mut unsafe { DispatchLevel::assume() });
}

impl<C: TimerRoutine> Drop for Timer<C> {
    fn drop(&mut self) {
        let inner = self.inner();
        inner.guard.close::<Self>(|| inner.withdraw());
        // SAFETY: `pool::allocate` made the block, which the kernel and the routine no longer use.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

/// A pinned `KTIMER`.
#[pin_data]
struct RawTimer {
    #[pin]
    object: UnsafeCell<nt::KTIMER>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access a KTIMER, and they may be called in any thread.
unsafe impl Sync for RawTimer {}

impl RawTimer {
    /// Initialises a timer (`KeInitializeTimer`).
    fn new() -> impl PinInit<Self, Error> {
        let initialise = |slot: *mut Self| {
            // SAFETY: the slot is valid for writes, and the timer stays there.
            unsafe { nt::KeInitializeTimer(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot (the marker has no size) and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }
}
