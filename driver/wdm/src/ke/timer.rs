//! Timers: DPCs that run when a time has come.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    marker::{PhantomData, PhantomPinned},
    ops::Deref,
    pin::Pin,
    time::Duration,
};

use pinned_init::{PinInit, pin_data, pin_init_from_closure, pinned_drop, try_pin_init};

use crate::{
    Error,
    ke::{
        dpc::{FlushOnDrop, RawDpc},
        irql::{AtMostDispatch, DispatchLevel},
        place::Place,
    },
};

/// What a driver does when a timer expires.
pub trait TimerRoutine: Send + Sync + Sized + 'static {
    /// The timer's DPC routine. It may set the timer again.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`.
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel);
}

/// A timer with its DPC, and what the routine of both works on (`KTIMER`, `KDPC`).
///
/// Dropping it cancels the timer and waits until the routine has returned, as dropping a [`Dpc`](crate::Dpc) does, and
/// under the same rule.
///
/// # What goes wrong in C
///
/// `KeCancelTimer` is taken for the end of it, but its DPC may be queued, or running, or setting the timer
/// again at that very moment, and then its memory is freed.
///
/// WDK: "Timer Objects and DPCs".
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
#[pin_data(PinnedDrop)]
pub struct Timer<C: TimerRoutine> {
    #[pin]
    raw: RawTimer,
    #[pin]
    dpc: RawDpc,
    guard: FlushOnDrop,
    place: Place,
    // Invariant: the routine is that of this very type.
    _routine: PhantomData<fn(C) -> C>,
    #[pin]
    context: C,
}

// By the routine's bound, not by what the context is made of: a context may own a request whose record is this timer, and
// a bound that goes through the context's fields would come back to itself.
// SAFETY: timer and DPC are the kernel's, whose routines may be called for them in any thread; the context is `Send`, as
// its routine's trait demands.
unsafe impl<C: TimerRoutine> Send for Timer<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: TimerRoutine> Sync for Timer<C> {}

impl<C: TimerRoutine> Timer<C> {
    /// Initialises a timer that is not set, and what its routine works on (`KeInitializeTimer`).
    ///
    /// WDK: "`KeInitializeTimer` function".
    ///
    /// # Errors
    /// Those of `context`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[track_caller]
    pub fn new(context: impl PinInit<C, Error>) -> impl PinInit<Self, Error> {
        let guard = FlushOnDrop::new();
        try_pin_init!(&this in Self {
            context <- context,
            guard,
            place: Place::of(this),
            _routine: PhantomData,
            raw <- RawTimer::new(),
            dpc <- RawDpc::new(routine::<C>, this.as_ptr().cast()),
        }? Error)
    }

    /// Sets the timer to expire after a time, and says whether it was set already, to a time that no longer
    /// counts (`KeSetTimer`).
    ///
    /// WDK: "`KeSetTimer` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn set<L: AtMostDispatch>(&self, due: Duration, _irql: &mut L) -> bool {
        if !self.guard.may_queue() {
            return false;
        }
        let hundreds = i64::try_from(due.as_nanos() / 100).unwrap_or(i64::MAX);
        // SAFETY: both were initialised where they are, and stay there until they are dropped, which waits. A
        // negative time is one from now.
        unsafe { nt::KeSetTimer(self.raw.object.get(), -hundreds, self.dpc.as_ptr()) != 0 }
    }

    /// Cancels the timer, and says whether it was set (`KeCancelTimer`). Its routine may still be about to
    /// run, or running.
    ///
    /// WDK: "`KeCancelTimer` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn cancel<L: AtMostDispatch>(&self, _irql: &mut L) -> bool {
        // SAFETY: the timer was initialised where it is.
        unsafe { nt::KeCancelTimer(self.raw.object.get()) != 0 }
    }
}

impl<C: TimerRoutine> Deref for Timer<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.context
    }
}

/// The `KDEFERRED_ROUTINE` of every timer.
///
/// # Safety
/// Called by the kernel, for a DPC whose context is the [`Timer`] that it is in.
unsafe extern "C" fn routine<C: TimerRoutine>(
    _dpc: *mut nt::KDPC,
    context: *mut c_void,
    _argument1: *mut c_void,
    _argument2: *mut c_void,
) {
    // SAFETY: dropping the Timer waits for this routine.
    let timer = unsafe { &*context.cast::<Timer<C>>() };
    // SAFETY: the kernel calls DPC routines at DISPATCH_LEVEL, and this driver's code holds no lock here.
    C::run(timer, &mut unsafe { DispatchLevel::assume() });
}

#[pinned_drop]
impl<C: TimerRoutine> PinnedDrop for Timer<C> {
    fn drop(self: Pin<&mut Self>) {
        self.place.check(self.as_ref().get_ref());
        self.guard.close::<Self>(|| {
            // SAFETY: the timer was initialised where it is.
            unsafe { nt::KeCancelTimer(self.raw.object.get()) };
            // SAFETY: so was the DPC.
            unsafe { nt::KeRemoveQueueDpc(self.dpc.as_ptr()) }
        });
    }
}

/// A `KTIMER` in its place.
#[pin_data]
struct RawTimer {
    #[pin]
    object: UnsafeCell<nt::KTIMER>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: what is in a KTIMER is the kernel's, whose routines may be called for it in any thread.
unsafe impl Sync for RawTimer {}

impl RawTimer {
    /// Initialises a timer (`KeInitializeTimer`).
    fn new() -> impl PinInit<Self, Error> {
        let initialise = |slot: *mut Self| {
            // SAFETY: the slot is valid for writes, and the timer stays there.
            unsafe { nt::KeInitializeTimer(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot, of which the marker has no size, and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }
}
