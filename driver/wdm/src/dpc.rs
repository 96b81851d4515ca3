//! DPCs: routines that the kernel calls soon, at `DISPATCH_LEVEL`.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    marker::PhantomPinned,
    ops::Deref,
    pin::Pin,
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use pinned_init::{PinInit, pin_data, pin_init_from_closure, pinned_drop, try_pin_init};

use crate::{NtStatus, irql::DispatchLevel};

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
/// Dropping it takes the DPC off its queue and waits until the routine has returned; so it is dropped at
/// `PASSIVE_LEVEL`, as a device's state is. Above, the system is stopped with bug check 0x0A.
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
/// use wdm::{Dpc, DpcRoutine, InterlockedLong, NtStatus, irql::DispatchLevel};
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
///     fn new() -> impl PinInit<Self, NtStatus> {
///         try_pin_init!(Self {
///             ticks <- Dpc::new(Ok::<_, NtStatus>(Ticks(InterlockedLong::new(0)))),
///         }? NtStatus)
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
    closing: AtomicBool,
    #[pin]
    context: C,
}

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
    pub fn new(context: impl PinInit<C, NtStatus>) -> impl PinInit<Self, NtStatus> {
        try_pin_init!(&this in Self {
            context <- context,
            closing: AtomicBool::new(false),
            raw <- RawDpc::new(routine::<C>, this.as_ptr().cast()),
        }? NtStatus)
    }

    /// Queues the DPC, unless it is queued already, and says whether it did (`KeInsertQueueDpc`).
    ///
    /// WDK: "`KeInsertQueueDpc` function".
    ///
    /// # IRQL
    /// Any.
    pub fn queue(&self) -> bool {
        if self.closing.load(Ordering::SeqCst) {
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
        self.closing.store(true, Ordering::SeqCst);
        // Nobody but the routine itself can queue the DPC now, and a call of it that starts after the first
        // pass finds `closing`. So after the second one the DPC is neither queued nor running.
        for _ in 0..2 {
            // SAFETY: the DPC was initialised where it is.
            unsafe { nt::KeRemoveQueueDpc(self.raw.as_ptr()) };
            flush();
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
    pub(crate) fn new(
        routine: DeferredRoutine,
        context: *mut c_void,
    ) -> impl PinInit<Self, NtStatus> {
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

/// Waits until every DPC that is queued has run (`KeFlushQueuedDpcs`).
pub(crate) fn flush() {
    const APC_LEVEL: u8 = 1;
    // SAFETY: no code of a driver runs above DISPATCH_LEVEL with this crate.
    let irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
    // SAFETY: this is what the IRQL was before it was raised.
    unsafe { nt::KeLowerIrql(irql) };
    if irql > APC_LEVEL {
        // A wait here would hang the processor or worse, and to go on would free memory in use.
        // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
        unsafe { nt::KeBugCheckEx(nt::IRQL_NOT_LESS_OR_EQUAL, 0, irql.into(), 0, 0) }
    }
    // SAFETY: the IRQL was just seen to be low enough, and the thread may wait.
    unsafe { nt::KeFlushQueuedDpcs() };
}

/// Stops the system if a DPC was forgotten while the driver is unloaded: its routine would be called when
/// the driver's code is gone. Where there are several drivers the count is of all; a model sees by itself what is left.
pub(crate) fn check_unload() {
    let live = LIVE.load(Ordering::Relaxed);
    if nt::IS_DRIVER && live != 0 {
        let code = nt::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
        // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
        unsafe { nt::KeBugCheckEx(code, live as u64, 0, 0, 0) }
    }
}
