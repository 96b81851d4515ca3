//! Deferred procedure calls (DPCs): routines that the kernel calls at `DISPATCH_LEVEL`.

use alloc::boxed::Box;
use core::{
    any::type_name,
    cell::UnsafeCell,
    ffi::c_void,
    marker::{PhantomData, PhantomPinned},
    mem::ManuallyDrop,
    ops::Deref,
    panic::Location,
    ptr::{NonNull, null_mut},
    sync::atomic::Ordering,
};

use nt::atomic::{AtomicBool, AtomicUsize};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error, PassiveLevel,
    block::in_block,
    ke::{
        irql::{self, DispatchLevel, Waitable},
        unload::Live,
    },
};

/// The routine of a [`Dpc`], implemented by the value that it works on (`KDEFERRED_ROUTINE`).
#[doc(alias = "KDEFERRED_ROUTINE")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no DPC routine",
    note = "implement `wdm::DpcRoutine` for the type that the DPC works on"
)]
pub trait DpcRoutine: Send + Sync + Sized + 'static {
    /// Runs the routine, which may queue its DPC again.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`.
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel);
}

/// A DPC and the value that its routine works on (`KDPC`).
///
/// Dropping it removes the DPC from its queue and waits until the routine has returned. This wait requires
/// `PASSIVE_LEVEL`. A device's state is dropped at that IRQL, and so is the value of a [`Shared`](crate::Shared),
/// at whatever IRQL its last owner is dropped. If any other DPC that was ever queued is dropped at a higher IRQL,
/// the system stops with bug check 0x0A, and the debugger shows its type and the source line that made it.
///
/// WDK: [DPC Objects and DPCs](https://learn.microsoft.com/windows-hardware/drivers/kernel/dpc-objects-and-dpcs).
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
///
/// # What goes wrong in C
///
/// The driver frees the DPC, or is unloaded, while the DPC is queued or running; or the context has another type
/// than the routine casts it to.
#[doc(alias = "KeBugCheckEx")]
#[doc(alias = "KeRemoveQueueDpc")]
#[doc(alias = "KeFlushQueuedDpcs")]
#[doc(alias = "KDPC")]
pub struct Dpc<C: DpcRoutine> {
    inner: NonNull<Inner<C>>,
    // Invariant: the DPC calls the routine of exactly this type.
    _routine: PhantomData<fn(C) -> C>,
}

/// The part of a DPC that the kernel and the routine access. It is in a separate block, which only the drop of the [`Dpc`] frees: the memory of a pinned
/// value can be freed without a drop, since `MaybeUninit` is a `Wrapper` of `pinned-init` 0.0.10.
#[pin_data]
struct Inner<C> {
    #[pin]
    raw: RawDpc,
    guard: FlushOnDrop,
    #[pin]
    context: C,
}

// The bound is the routine's, not one on the context's fields: a context may own a request whose record is this
// DPC, so a bound on the fields would refer to itself.
// SAFETY: only the kernel's routines access the DPC, and they may be called in any thread; the context is `Send`,
// as its routine's trait requires.
unsafe impl<C: DpcRoutine> Send for Dpc<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: DpcRoutine> Sync for Dpc<C> {}

impl<C: DpcRoutine> Dpc<C> {
    /// Initialises a DPC that is not queued, and the value that its routine works on (`KeInitializeDpc`).
    ///
    /// WDK: [KeInitializeDpc](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializedpc).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    #[doc(alias = "KeInitializeDpc")]
    #[track_caller]
    pub fn new(context: impl PinInit<C, Error>) -> impl PinInit<Self, Error> {
        Self::with_importance(context, Importance::Medium)
    }

    /// Initialises a DPC as [`new`](Dpc::new) does, with another importance (`KeSetImportanceDpc`).
    ///
    /// WDK: [KeSetImportanceDpc](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetimportancedpc).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    #[doc(alias = "KeSetImportanceDpc")]
    #[track_caller]
    pub fn with_importance(
        context: impl PinInit<C, Error>,
        importance: Importance,
    ) -> impl PinInit<Self, Error> {
        let guard = FlushOnDrop::new();
        in_block(
            try_pin_init!(&this in Inner {
                context <- context,
                guard,
                raw <- RawDpc::new(routine::<C>, this.as_ptr().cast(), importance),
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

    /// Queues the DPC and returns `true`, or returns `false` if it is already queued (`KeInsertQueueDpc`).
    ///
    /// WDK: [KeInsertQueueDpc](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertqueuedpc).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInsertQueueDpc")]
    #[expect(
        clippy::must_use_candidate,
        reason = "it queues the DPC; the return value is optional"
    )]
    pub fn queue(&self) -> bool {
        let inner = self.inner();
        if !inner.guard.may_queue() {
            return false;
        }
        // SAFETY: the DPC was initialised in its block, which only the drop frees, after it has waited for the routine.
        unsafe { nt::KeInsertQueueDpc(inner.raw.as_ptr(), null_mut(), null_mut()) != 0 }
    }
}

impl<C: DpcRoutine> Deref for Dpc<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner().context
    }
}

/// The `KDEFERRED_ROUTINE` of every DPC.
///
/// # Safety
/// Called by the kernel, for a DPC whose context is the block that contains it.
unsafe extern "C" fn routine<C: DpcRoutine>(
    _dpc: *mut nt::KDPC,
    context: *mut c_void,
    _argument1: *mut c_void,
    _argument2: *mut c_void,
) {
    // SAFETY: the block is not NULL.
    let inner = unsafe { NonNull::new_unchecked(context.cast()) };
    // The block is valid, since the drop of its owner waits for this routine.
    let dpc = ManuallyDrop::new(Dpc::<C>::of(inner));
    // SAFETY: the kernel calls DPC routines at DISPATCH_LEVEL, and the driver holds no lock here.
    C::run(&dpc, &mut unsafe { DispatchLevel::assume() });
}

impl<C: DpcRoutine> Drop for Dpc<C> {
    fn drop(&mut self) {
        let Inner { guard, raw, .. } = self.inner();
        // SAFETY: the DPC was initialised in its block.
        guard.close::<Self>(|| unsafe { nt::KeRemoveQueueDpc(raw.as_ptr()) != 0 });
        // SAFETY: `pool::allocate` made the block, which the kernel and the routine no longer use.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

/// The state that a [`Dpc`] or a [`Timer`](crate::Timer) needs in order to be dropped.
pub(crate) struct FlushOnDrop {
    /// Whether the routine was ever requested; if not, it cannot be running.
    used: AtomicBool,
    /// How many callers wait for the routine to end.
    closing: AtomicUsize,
    made_at: &'static Location<'static>,
}

impl FlushOnDrop {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self {
            used: AtomicBool::new(false),
            closing: AtomicUsize::new(0),
            made_at: Location::caller(),
        }
    }

    /// Returns whether the routine may be queued: not while a thread waits for it to end. During a drop only the routine
    /// itself can still request this.
    pub(crate) fn may_queue(&self) -> bool {
        self.used.store(true, Ordering::Relaxed);
        self.closing.load(Ordering::SeqCst) == 0
    }

    /// Waits until the routine of an `N` is neither queued nor running, and prevents it from being queued again.
    ///
    /// `withdraw` removes it from every queue of the kernel.
    pub(crate) fn close<N>(&self, withdraw: impl Fn() -> bool) {
        if !self.used.load(Ordering::Relaxed) {
            return;
        }
        if !irql::is_passive() {
            irql::dropped_above_passive(type_name::<N>(), self.made_at);
        }
        // SAFETY: the IRQL is PASSIVE_LEVEL.
        self.flush(withdraw, &mut unsafe { PassiveLevel::assume() });
    }

    /// Waits until the routine is neither queued nor running, and returns whether it was withdrawn from a queue. Until then
    /// it cannot be queued.
    pub(crate) fn flush<L: Waitable>(&self, withdraw: impl Fn() -> bool, irql: &mut L) -> bool {
        self.closing.fetch_add(1, Ordering::SeqCst);
        // Now a call of the routine that starts after the first pass reads `closing`. So after the second pass the routine is
        // neither queued nor running, unless another thread read `closing` earlier and queues it now.
        let mut was_queued = false;
        for _ in 0..2 {
            was_queued |= withdraw();
            flush(irql);
        }
        self.closing.fetch_sub(1, Ordering::SeqCst);
        was_queued
    }
}

/// Waits until the DPCs of all drivers that are queued or running have ended (`KeFlushQueuedDpcs`).
pub(crate) fn flush<L: Waitable>(_irql: &mut L) {
    // SAFETY: the token says that the thread may wait.
    unsafe { nt::KeFlushQueuedDpcs() };
}

/// A pinned `KDPC`.
#[pin_data]
pub(crate) struct RawDpc {
    #[pin]
    object: UnsafeCell<nt::KDPC>,
    live: Live,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access a KDPC, and they may be called in any thread.
unsafe impl Sync for RawDpc {}

/// The importance of a [`Dpc`], which decides when it runs after it was queued (`KDPC_IMPORTANCE`).
///
/// WDK: [KeSetImportanceDpc](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetimportancedpc).
///
/// # Examples
///
/// ```
/// use pinned_init::PinInit;
/// use wdm::{Dpc, DpcRoutine, Error, Importance, InterlockedLong, irql::DispatchLevel};
///
/// /// Counts the data that the device has lost, which is not urgent.
/// struct Lost(InterlockedLong);
///
/// impl DpcRoutine for Lost {
///     fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
///         dpc.0.increment();
///     }
/// }
///
/// fn lost() -> impl PinInit<Dpc<Lost>, Error> {
///     let context = Ok::<_, Error>(Lost(InterlockedLong::new(0)));
///     Dpc::with_importance(context, Importance::Low)
/// }
/// ```
#[doc(alias = "KDPC_IMPORTANCE")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Importance {
    /// The DPC is added to the end of the queue, and can wait until the processor is idle or the queue is long (`LowImportance`).
    Low = 0,
    /// The DPC is added to the end of the queue (`MediumImportance`).
    #[default]
    Medium = 1,
    /// The DPC is added to the start of the queue (`HighImportance`).
    High = 2,
    /// The DPC is added to the end of the queue, and the queue's processor is interrupted immediately, even if it is not the current
    /// processor (`MediumHighImportance`).
    MediumHigh = 3,
}

type DeferredRoutine = unsafe extern "C" fn(*mut nt::KDPC, *mut c_void, *mut c_void, *mut c_void);

impl RawDpc {
    /// Initialises a DPC (`KeInitializeDpc`).
    pub(crate) fn new(
        routine: DeferredRoutine,
        context: *mut c_void,
        importance: Importance,
    ) -> impl PinInit<Self, Error> {
        let initialise = move |slot: *mut UnsafeCell<nt::KDPC>| {
            let dpc = UnsafeCell::raw_get(slot);
            // SAFETY: the slot is valid for writes, and the DPC stays there.
            unsafe { nt::KeInitializeDpc(dpc, Some(routine), context) };
            if importance != Importance::default() {
                // SAFETY: the DPC is initialised and not queued.
                unsafe { nt::KeSetImportanceDpc(dpc, importance as i32) };
            }
            Ok(())
        };
        // SAFETY: the closure initialises the slot and does not fail.
        let object = unsafe { pin_init_from_closure::<_, Error>(initialise) };
        try_pin_init!(Self {
            object <- object,
            live: Live::new(),
            _pinned: PhantomPinned,
        }? Error)
    }

    /// Returns the pointer that the kernel's routines take.
    pub(crate) fn as_ptr(&self) -> *mut nt::KDPC {
        self.object.get()
    }
}
