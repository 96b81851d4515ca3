//! DPCs: routines that the kernel calls soon, at `DISPATCH_LEVEL`.

use core::{
    any::type_name,
    cell::UnsafeCell,
    ffi::c_void,
    marker::{PhantomData, PhantomPinned},
    ops::Deref,
    panic::Location,
    pin::Pin,
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use pinned_init::{PinInit, pin_data, pin_init_from_closure, pinned_drop, try_pin_init};

use crate::{
    Error, PassiveLevel,
    ke::{
        irql::{self, DispatchLevel},
        place::Place,
        wait,
    },
};

/// What a driver does in a DPC.
pub trait DpcRoutine: Send + Sync + Sized + 'static {
    /// The routine itself. It may queue its DPC again.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`.
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel);
}

/// A DPC and what its routine works on (`KDPC`).
///
/// Dropping it takes the DPC off its queue and waits until the routine has returned. To wait takes `PASSIVE_LEVEL`, at
/// which a device's state is dropped, and the value of a [`Shared`](crate::Shared) wherever its last owner goes. A DPC
/// that was queued once, is kept neither in a device's state nor in a `Shared`, and is dropped at a higher IRQL stops the
/// system with bug check 0x0A; the debugger shows its type, and where it was made.
///
/// # What goes wrong in C
///
/// The DPC's memory, or the driver, is gone while the DPC is still queued or running; the context is of
/// another type than the routine takes it for.
///
/// WDK: "DPC Objects and DPCs".
///
/// # Examples
///
/// ```
/// use pinned_init::{PinInit, pin_data, try_pin_init};
/// use wdm::{Dpc, DpcRoutine, InterlockedLong, Error, irql::DispatchLevel};
///
/// struct Ticks(InterlockedLong);
///
/// impl DpcRoutine for Ticks {
///     fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
///         dpc.0.increment();
///     }
/// }
///
/// #[pin_data]
/// struct Clock {
///     #[pin]
///     ticks: Dpc<Ticks>,
/// }
///
/// impl Clock {
///     fn new() -> impl PinInit<Self, Error> {
///         try_pin_init!(Self {
///             ticks <- Dpc::new(Ok::<_, Error>(Ticks(InterlockedLong::new(0)))),
///         }? Error)
///     }
///
///     fn interrupt(&self) {
///         self.ticks.queue();
///     }
/// }
/// # fn main() {}
/// ```
#[pin_data(PinnedDrop)]
pub struct Dpc<C: DpcRoutine> {
    #[pin]
    raw: RawDpc,
    guard: FlushOnDrop,
    place: Place,
    // Invariant: the routine is that of this very type.
    _routine: PhantomData<fn(C) -> C>,
    #[pin]
    context: C,
}

// By the routine's bound, not by what the context is made of: a context may own a request whose record is this DPC, and a
// bound that goes through the context's fields would come back to itself.
// SAFETY: the DPC is the kernel's, whose routines may be called for it in any thread; the context is `Send`, as its
// routine's trait demands.
unsafe impl<C: DpcRoutine> Send for Dpc<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: DpcRoutine> Sync for Dpc<C> {}

impl<C: DpcRoutine> Dpc<C> {
    /// Initialises a DPC that is not queued, and what its routine works on (`KeInitializeDpc`).
    ///
    /// WDK: "`KeInitializeDpc` function".
    ///
    /// # Errors
    /// Those of `context`.
    ///
    /// # IRQL
    /// Any.
    #[track_caller]
    pub fn new(context: impl PinInit<C, Error>) -> impl PinInit<Self, Error> {
        let guard = FlushOnDrop::new();
        try_pin_init!(&this in Self {
            context <- context,
            guard,
            place: Place::of(this),
            _routine: PhantomData,
            raw <- RawDpc::new(routine::<C>, this.as_ptr().cast()),
        }? Error)
    }

    /// Queues the DPC, unless it is queued already, and says whether it did (`KeInsertQueueDpc`).
    ///
    /// WDK: "`KeInsertQueueDpc` function".
    ///
    /// # IRQL
    /// Any.
    pub fn queue(&self) -> bool {
        if !self.guard.may_queue() {
            return false;
        }
        // SAFETY: the DPC was initialised where it is, and stays there until it is dropped, which waits.
        unsafe { nt::KeInsertQueueDpc(self.raw.as_ptr(), null_mut(), null_mut()) != 0 }
    }
}

impl<C: DpcRoutine> Deref for Dpc<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.context
    }
}

/// The `KDEFERRED_ROUTINE` of every DPC.
///
/// # Safety
/// Called by the kernel, for a DPC whose context is the [`Dpc`] that it is in.
unsafe extern "C" fn routine<C: DpcRoutine>(
    _dpc: *mut nt::KDPC,
    context: *mut c_void,
    _argument1: *mut c_void,
    _argument2: *mut c_void,
) {
    // SAFETY: dropping the Dpc waits for this routine.
    let dpc = unsafe { &*context.cast::<Dpc<C>>() };
    // SAFETY: the kernel calls DPC routines at DISPATCH_LEVEL, and this driver's code holds no lock here.
    C::run(dpc, &mut unsafe { DispatchLevel::assume() });
}

#[pinned_drop]
impl<C: DpcRoutine> PinnedDrop for Dpc<C> {
    fn drop(self: Pin<&mut Self>) {
        self.place.check(self.as_ref().get_ref());
        // SAFETY: the DPC was initialised where it is.
        self.guard
            .close::<Self>(|| unsafe { nt::KeRemoveQueueDpc(self.raw.as_ptr()) });
    }
}

/// What a [`Dpc`] and a [`Timer`](crate::Timer) need to know in order to be dropped.
pub(crate) struct FlushOnDrop {
    /// Whether the routine was ever asked for: one that was not cannot be running.
    used: AtomicBool,
    closing: AtomicBool,
    made_at: &'static Location<'static>,
}

impl FlushOnDrop {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self {
            used: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            made_at: Location::caller(),
        }
    }

    /// Whether the routine may be asked for: not once the object is being dropped. The routine itself is the only one that
    /// can still ask then.
    pub(crate) fn may_queue(&self) -> bool {
        self.used.store(true, Ordering::Relaxed);
        !self.closing.load(Ordering::SeqCst)
    }

    /// Sees to it that the routine of an `N` is neither queued nor running any more, and will not be.
    ///
    /// `withdraw` takes it off every queue of the kernel's that it may be on.
    pub(crate) fn close<N>(&self, withdraw: impl Fn() -> u8) {
        if !self.used.load(Ordering::Relaxed) {
            return;
        }
        if !irql::is_passive() {
            irql::dropped_above_passive(type_name::<N>(), self.made_at);
        }
        self.closing.store(true, Ordering::SeqCst);
        // Nobody but the routine itself can ask for the routine now, and a call of it that starts after the first pass
        // finds `closing`. So after the second pass it is neither queued nor running.
        for _ in 0..2 {
            withdraw();
            // SAFETY: the IRQL is PASSIVE_LEVEL, and the thread may wait.
            unsafe { nt::KeFlushQueuedDpcs() };
        }
    }
}

/// A `KDPC` in its place.
#[pin_data(PinnedDrop)]
pub(crate) struct RawDpc {
    #[pin]
    object: UnsafeCell<nt::KDPC>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: what is in a KDPC is the kernel's, whose routines may be called for it in any thread.
unsafe impl Sync for RawDpc {}

/// How many DPCs there are, of all devices.
static LIVE: AtomicUsize = AtomicUsize::new(0);

type DeferredRoutine = unsafe extern "C" fn(*mut nt::KDPC, *mut c_void, *mut c_void, *mut c_void);

impl RawDpc {
    /// Initialises a DPC (`KeInitializeDpc`).
    pub(crate) fn new(routine: DeferredRoutine, context: *mut c_void) -> impl PinInit<Self, Error> {
        let initialise = move |slot: *mut Self| {
            LIVE.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the slot is valid for writes, and the DPC stays there.
            unsafe { nt::KeInitializeDpc(slot.cast(), Some(routine), context) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot, of which the marker has no size, and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }

    /// The DPC as the kernel's routines take it.
    pub(crate) fn as_ptr(&self) -> *mut nt::KDPC {
        self.object.get()
    }
}

#[pinned_drop]
impl PinnedDrop for RawDpc {
    fn drop(self: Pin<&mut Self>) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Stops the system if a DPC was forgotten when the driver is unloaded, or its `DriverEntry` fails: its routine would be
/// called when the driver's code is gone. If a program has several drivers in it, the count is of all of them; a model of
/// the kernel finds out by itself which are left.
///
/// A device waits for its own work items before it goes. One of another device's may still be dropping a DPC that this one
/// gave up, so the check waits for a second before it takes a DPC for forgotten.
pub(crate) fn check_unload(irql: &mut PassiveLevel) {
    const TRIES: u32 = 100;
    if !nt::IS_DRIVER {
        return;
    }
    for _ in 0..TRIES {
        if LIVE.load(Ordering::Relaxed) == 0 {
            return;
        }
        wait::delay(Duration::from_millis(10), irql);
    }
    let live = LIVE.load(Ordering::Relaxed);
    if live != 0 {
        let code = nt::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
        // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
        unsafe { nt::KeBugCheckEx(code, live as u64, 0, 0, 0) }
    }
}
