//! Threads that belong to a device.

use core::{
    any::type_name,
    ffi::c_void,
    marker::{PhantomData, PhantomPinned},
    ops::Deref,
    panic::Location,
    pin::Pin,
    ptr::{from_ref, null_mut},
    sync::atomic::Ordering,
    time::Duration,
};

use nt::atomic::{AtomicBool, AtomicPtr};
use pinned_init::{PinInit, pin_data, pinned_drop, try_pin_init};

use crate::{
    Error, PassiveLevel,
    ke::{
        dpc::Live,
        event::{Event, EventType},
        irql::{self, AtMostDispatch, Waitable},
        place::Place,
        wait,
    },
    ps::thread,
};

/// The routine of a [`Thread`], implemented by the value that it works on (`KSTART_ROUTINE`).
#[doc(alias = "KSTART_ROUTINE")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no thread routine",
    note = "implement `wdm::ThreadRoutine` for the type that the thread works on"
)]
pub trait ThreadRoutine: Send + Sync + Sized + 'static {
    /// Runs the routine, which should return soon after the thread is asked to stop: when [`Thread::wait`] returns `false`.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel);
}

/// A system thread and the value that its routine works on.
///
/// Dropping it asks the thread to stop and waits until it has ended. This wait requires `PASSIVE_LEVEL`. A device's state is
/// dropped at that IRQL, and so is the value of a [`Shared`](crate::Shared). So a thread that is part of a device's state has
/// ended before the device is removed, and the device waits for nothing else. If any other thread that was started is dropped
/// at a higher IRQL, the system stops with bug check 0x0A.
///
/// The thread must not own the last [`Shared`](crate::Shared) of its own `Thread`, since it would wait for itself.
///
/// WDK: [Device-Dedicated Threads](https://learn.microsoft.com/windows-hardware/drivers/kernel/device-dedicated-threads).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, InterlockedLong, PassiveLevel, Shared, Thread, ThreadRoutine};
///
/// /// Counts how often it was woken.
/// struct Counter(InterlockedLong);
///
/// impl ThreadRoutine for Counter {
///     fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
///         while thread.wait(irql) {
///             thread.0.increment();
///         }
///     }
/// }
///
/// fn start(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Shared<Thread<Counter>>, Error> {
///     let context = Ok::<_, Error>(Counter(InterlockedLong::new(0)));
///     let thread = Shared::new(Thread::new(context), device, irql)?;
///     thread.start(irql)?;
///     thread.wake(irql);
///     Ok(thread)
/// }
/// ```
///
/// # What goes wrong in C
///
/// The driver frees the device extension, or is unloaded, while the thread still runs: it sets an event that tells the thread to
/// stop, and does not wait for the thread object. Or it waits for a variable that the thread sets before it returns, after which
/// the thread's last instructions are freed under it.
#[doc(alias = "PsCreateSystemThread")]
#[doc(alias = "PsTerminateSystemThread")]
#[doc(alias = "KeWaitForSingleObject")]
#[pin_data(PinnedDrop)]
pub struct Thread<C: ThreadRoutine> {
    /// Set to wake the thread.
    #[pin]
    signal: Event,
    is_stopping: AtomicBool,
    is_started: AtomicBool,
    /// The thread's handle after it was started.
    handle: AtomicPtr<c_void>,
    live: Live,
    place: Place,
    made_at: &'static Location<'static>,
    // Invariant: the routine is the one of exactly this type.
    _routine: PhantomData<fn(C) -> C>,
    #[pin]
    _pinned: PhantomPinned,
    #[pin]
    context: C,
}

// As for a `Dpc`, the bound is the routine's, not one on the context's fields.
// SAFETY: the event, the handle and the flags may be used in any thread, and the context is `Send`.
unsafe impl<C: ThreadRoutine> Send for Thread<C> {}
// SAFETY: as above, and the context is `Sync`.
unsafe impl<C: ThreadRoutine> Sync for Thread<C> {}

impl<C: ThreadRoutine> Thread<C> {
    /// Initialises a thread that does not run yet, and the value that its routine works on.
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Errors
    /// The errors of `context`.
    #[track_caller]
    pub fn new(context: impl PinInit<C, Error>) -> impl PinInit<Self, Error> {
        let made_at = Location::caller();
        try_pin_init!(&this in Self {
            context <- context,
            signal <- Event::new(EventType::Synchronization, false),
            is_stopping: AtomicBool::new(false),
            is_started: AtomicBool::new(false),
            handle: AtomicPtr::new(null_mut()),
            live: Live::new(),
            place: Place::of(this),
            made_at,
            _routine: PhantomData,
            _pinned: PhantomPinned,
        }? Error)
    }

    /// Starts the thread (`PsCreateSystemThread`).
    ///
    /// WDK: [PsCreateSystemThread](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pscreatesystemthread).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_STATE` if it was started before; the errors of `PsCreateSystemThread`.
    #[doc(alias = "PsCreateSystemThread")]
    pub fn start<L: Waitable>(&self, _irql: &mut L) -> Result<(), Error> {
        if self.is_started.swap(true, Ordering::Relaxed) {
            return Err(Error::INVALID_DEVICE_STATE);
        }
        // SAFETY: `self` was initialised in place, and stays there until it is dropped, which waits for the thread. The routine
        // takes it, and the token says PASSIVE_LEVEL.
        let created = unsafe { thread::create(routine::<C>, from_ref(self).cast_mut().cast()) };
        match created {
            Ok(handle) => {
                self.handle.store(handle, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.is_started.store(false, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Wakes the thread, which returns from [`wait`](Thread::wait) now or the next time it calls it (`KeSetEvent`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetEvent")]
    pub fn wake<L: AtMostDispatch>(&self, irql: &mut L) {
        self.signal.set(irql);
    }

    /// Waits until the thread is woken or asked to stop; returns `false` if it is asked to stop (`KeWaitForSingleObject`).
    ///
    /// For the thread's routine. A call of [`wake`](Thread::wake) wakes one waiter; a request to stop wakes all.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait<L: Waitable>(&self, irql: &mut L) -> bool {
        if !self.is_stopping() {
            self.signal.wait(irql);
        }
        self.goes_on(irql)
    }

    /// Returns whether the thread is to go on. The event wakes one waiter, so a waiter that is asked to stop wakes the next one: the
    /// drop waits for the thread, and so for every waiter that keeps it.
    fn goes_on<L: AtMostDispatch>(&self, irql: &mut L) -> bool {
        let is_stopping = self.is_stopping();
        if is_stopping {
            self.signal.set(irql);
        }
        !is_stopping
    }

    /// Waits as [`wait`](Thread::wait) does, at most for a time interval; returns `false` if the thread is asked to stop.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait_for<L: Waitable>(&self, time: Duration, irql: &mut L) -> bool {
        if !self.is_stopping() {
            self.signal.wait_for(time, irql);
        }
        self.goes_on(irql)
    }

    /// Returns whether the thread is asked to stop.
    ///
    /// # IRQL
    /// Any.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Asks the thread to stop, and does not wait for it. The drop waits.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn stop<L: AtMostDispatch>(&self, irql: &mut L) {
        self.is_stopping.store(true, Ordering::Release);
        self.signal.set(irql);
    }
}

impl<C: ThreadRoutine> Deref for Thread<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.context
    }
}

/// The `KSTART_ROUTINE` of every such thread.
///
/// # Safety
/// Called by the kernel in a new system thread, with the [`Thread`] that started it.
unsafe extern "C" fn routine<C: ThreadRoutine>(context: *mut c_void) {
    // SAFETY: the `Thread` is valid, since its drop waits for this thread.
    let thread = unsafe { &*context.cast::<Thread<C>>() };
    // SAFETY: system threads start at PASSIVE_LEVEL.
    C::run(thread, &mut unsafe { PassiveLevel::assume() });
    // SAFETY: this is a system thread, at PASSIVE_LEVEL, and nothing is left to drop.
    unsafe { nt::PsTerminateSystemThread(nt::STATUS_SUCCESS) };
}

#[pinned_drop]
impl<C: ThreadRoutine> PinnedDrop for Thread<C> {
    fn drop(self: Pin<&mut Self>) {
        self.place.check(self.as_ref().get_ref());
        let handle = self.handle.load(Ordering::Relaxed);
        if handle.is_null() {
            return;
        }
        if !irql::is_passive() {
            irql::dropped_above_passive(type_name::<Self>(), self.made_at);
        }
        // SAFETY: the IRQL is PASSIVE_LEVEL.
        let irql = &mut unsafe { PassiveLevel::assume() };
        self.stop(irql);
        // SAFETY: the handle is an open thread handle.
        unsafe { wait::for_thread(handle, irql) };
        // SAFETY: the handle is open, and is not used again.
        let _ = unsafe { nt::ZwClose(handle) };
    }
}
