//! Threads that belong to a device.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{NonNull, null_mut},
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use nt::atomic::{AtomicBool, AtomicPtr};
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    DeviceObject, Error, PassiveLevel, Record, Shared,
    io::device_object::Deferred,
    ke::{
        event::{Event, EventType},
        irql::{AtMostDispatch, CallerLevel, NoSpinLockHeld, Waitable},
        unload::Live,
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
    /// The thread is created inside a critical region, so normal kernel APCs are not delivered to it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel);
}

/// A system thread and the value that its routine works on.
///
/// Dropping it requests the thread to [stop](Thread::stop), and does not wait. So it can be dropped at any IRQL up to `DISPATCH_LEVEL`, while
/// any lock is held, and by the thread itself. A work item of the device waits until the thread has ended; only then the value is dropped. The
/// removal of the device waits for the work item, so a thread that was requested to stop, or whose `Thread` is part of a device's state,
/// has ended before the device is removed.
///
/// WDK: [Device-Dedicated Threads](https://learn.microsoft.com/windows-hardware/drivers/kernel/device-dedicated-threads).
///
/// # Examples
///
/// ```
/// use wdm::{DeviceObject, Error, InterlockedLong, PassiveLevel, Thread, ThreadRoutine};
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
/// fn start(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Thread<Counter>, Error> {
///     let context = Ok::<_, Error>(Counter(InterlockedLong::new(0)));
///     let thread = Thread::new(context, device, irql)?;
///     thread.start(irql)?;
///     thread.wake(irql);
///     Ok(thread)
/// }
/// ```
///
/// # What goes wrong in C
///
/// The driver frees the device extension, or is unloaded, while the thread still runs: it sets an event that requests the thread
/// to stop, and does not wait for the thread object. Or it waits for a variable that the thread sets before it returns, so the driver's
/// code is freed while the thread runs its last instructions. Or the thread waits for itself, or for a thread that waits for it.
#[doc(alias = "PsCreateSystemThread")]
#[doc(alias = "PsTerminateSystemThread")]
#[doc(alias = "KeWaitForSingleObject")]
pub struct Thread<C: ThreadRoutine> {
    inner: Shared<Inner<C>>,
}

/// The object that a [`Thread`], the running thread and the work item that ends it share.
#[pin_data]
#[repr(C)]
struct Inner<C: ThreadRoutine> {
    // The first field, so that a pointer to it is a pointer to the `Inner`. The link and `owner` are used once, after the thread was requested
    // to stop.
    link: UnsafeCell<Deferred>,
    owner: AtomicPtr<()>,
    /// Set to wake the thread.
    #[pin]
    signal: Event,
    is_stopping: AtomicBool,
    is_started: AtomicBool,
    /// Whether the work item will wait for the thread, since it was requested to stop.
    is_awaited: AtomicBool,
    /// Whether the work item is to wait for the thread, or the routine has returned. Whichever comes second defers the link.
    is_awaited_or_returned: AtomicBool,
    /// The thread's handle after it was started.
    handle: AtomicPtr<c_void>,
    device: DeviceObject,
    live: Live,
    // Invariant: the thread runs the routine of exactly this type.
    _routine: PhantomData<fn(C) -> C>,
    #[pin]
    context: C,
}

// As for a `Dpc`, the bound is the routine's, not one on the context's fields.
// SAFETY: the event, the handle, the link and the flags may be used in any thread, and the context is `Send`.
unsafe impl<C: ThreadRoutine> Send for Inner<C> {}
// SAFETY: as above, the link is used by one thread at a time, and the context is `Sync`.
unsafe impl<C: ThreadRoutine> Sync for Inner<C> {}

impl<C: ThreadRoutine> Thread<C> {
    /// Makes a thread that does not run yet, and the value that its routine works on.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    pub fn new<L: NoSpinLockHeld>(
        context: impl PinInit<C, Error>,
        device: &DeviceObject,
        irql: &mut L,
    ) -> Result<Self, Error> {
        let inner = try_pin_init!(Inner {
            link: UnsafeCell::new(Deferred::new(ended::<C>)),
            owner: AtomicPtr::new(null_mut()),
            signal <- Event::new(EventType::Synchronization, false),
            is_stopping: AtomicBool::new(false),
            is_started: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            is_awaited_or_returned: AtomicBool::new(false),
            handle: AtomicPtr::new(null_mut()),
            device: device.clone(),
            live: Live::new(),
            _routine: PhantomData,
            context <- context,
        }? Error);
        let inner = Shared::new(inner, device, irql)?;
        Ok(Self { inner })
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
    pub fn start<L: Waitable>(&self, irql: &mut L) -> Result<(), Error> {
        if self.inner.is_started.swap(true, Ordering::Relaxed) {
            return Err(Error::INVALID_DEVICE_STATE);
        }
        // The removal waits for this call, so that a request to stop that comes before the handle is stored is not too late.
        self.inner.device.expect_work();
        let owner = self.inner.clone().into_raw();
        // SAFETY: the routine takes the owner, and ends the thread; the token says PASSIVE_LEVEL.
        let created = unsafe { thread::create(routine::<C>, owner.cast()) };
        let started = match created {
            Ok(handle) => {
                // Release, so that a thread that finds the handle, and the work item, can use it.
                self.inner.handle.store(handle, Ordering::Release);
                // Pairs with the one in `stop`: either that finds the handle, or this finds the request to stop.
                fence(Ordering::SeqCst);
                if self.is_stopping() {
                    self.stop(irql);
                }
                Ok(())
            }
            Err(error) => {
                // SAFETY: no thread was created, so the owner that was given up above is made again once.
                drop(unsafe { Shared::<Inner<C>>::from_raw(owner) });
                self.inner.is_started.store(false, Ordering::Relaxed);
                Err(error)
            }
        };
        self.inner.device.end_expected();
        started
    }

    /// Wakes the thread, which returns from [`wait`](Thread::wait) now or the next time it calls it (`KeSetEvent`).
    ///
    /// WDK: [KeSetEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetevent).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetEvent")]
    pub fn wake<L: AtMostDispatch>(&self, irql: &mut L) {
        self.inner.signal.set(irql);
    }

    /// Waits until the thread is woken or asked to stop; returns `false` if it is asked to stop (`KeWaitForSingleObject`).
    ///
    /// For the thread's routine. A call of [`wake`](Thread::wake) wakes one waiter; a request to stop wakes all.
    ///
    /// WDK: [KeWaitForSingleObject](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait<L: Waitable>(&self, irql: &mut L) -> bool {
        if !self.is_stopping() {
            self.inner.signal.wait(irql);
        }
        self.continues(irql)
    }

    /// Returns whether the thread continues. The event wakes one waiter, so a waiter that is requested to stop wakes the next one. This is
    /// necessary since the thread may wait for its other waiters, and the removal of the device waits for the thread.
    fn continues<L: AtMostDispatch>(&self, irql: &mut L) -> bool {
        let is_stopping = self.is_stopping();
        if is_stopping {
            self.inner.signal.set(irql);
        }
        !is_stopping
    }

    /// Waits as [`wait`](Thread::wait) does, at most for a time interval; returns `false` if the thread is asked to stop.
    ///
    /// WDK: [KeWaitForSingleObject](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait_for<L: Waitable>(&self, time: Duration, irql: &mut L) -> bool {
        if !self.is_stopping() {
            self.inner.signal.wait_for(time, irql);
        }
        self.continues(irql)
    }

    /// Returns whether the thread is asked to stop.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.is_stopping.load(Ordering::Acquire)
    }

    /// Asks the thread to stop, as the drop does. The removal of the device waits until the thread has ended, also if an owner of the `Thread`
    /// still exists, which can be a variable of the routine.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn stop<L: AtMostDispatch>(&self, irql: &mut L) {
        let inner = &self.inner;
        inner.is_stopping.store(true, Ordering::Release);
        inner.signal.set(irql);
        // If the thread is being started, `start` requests it to stop.
        fence(Ordering::SeqCst);
        // Acquire pairs with the Release below: the work was announced before the flag was set.
        if inner.handle.load(Ordering::Acquire).is_null()
            || inner.is_awaited.load(Ordering::Acquire)
        {
            return;
        }
        inner.device.expect_work();
        if inner.is_awaited.swap(true, Ordering::AcqRel) {
            inner.device.end_expected();
            return;
        }
        inner
            .owner
            .store(inner.clone().into_raw(), Ordering::Relaxed);
        inner.record_end();
    }
}

impl<C: ThreadRoutine> Deref for Thread<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner.context
    }
}

impl<C: ThreadRoutine> Inner<C> {
    /// Records that the work item is to wait for the thread, or that the routine has returned. When both are true, the work item waits for the
    /// end of the thread. It does not run earlier, since a long wait in it would delay all other deferred work.
    fn record_end(&self) {
        // The second exchange reads the value of the first, so every write before the first, such as that of `owner`, is visible to the work item.
        if !self.is_awaited_or_returned.swap(true, Ordering::AcqRel) {
            return;
        }
        // A second reference, since the work item may drop the value before `defer` returns.
        let device = self.device.clone();
        // The pointer is that of the whole value, which starts with the link.
        let link = NonNull::<Self>::from_ref(self).cast::<Deferred>();
        // SAFETY: the first of the two ends only sets the flag, so the link is on no list. It stays valid until its routine drops the owner.
        // The request to stop has announced the work.
        unsafe { device.defer_expected(link) };
    }
}

/// The `KSTART_ROUTINE` of every [`Thread`].
///
/// # Safety
/// Called by the kernel in a new system thread, with the owner that [`Thread::start`] gave up.
unsafe extern "C" fn routine<C: ThreadRoutine>(owner: *mut c_void) {
    // SAFETY: `start` gave up the owner, and it is made again once.
    let inner = unsafe { Shared::<Inner<C>>::from_raw(owner.cast()) };
    // This value is never dropped, since its drop would request the thread to stop.
    let thread = ManuallyDrop::new(Thread { inner });
    // SAFETY: system threads start at PASSIVE_LEVEL.
    C::run(&thread, &mut unsafe { PassiveLevel::assume() });
    // SAFETY: the thread is not used again, and this takes its only field.
    let inner = unsafe { core::ptr::read(&raw const thread.inner) };
    inner.record_end();
    // The `Thread`, or the work item, which waits for this thread, is an owner too, so the value is not dropped here.
    drop(inner);
    // SAFETY: this is a system thread, at PASSIVE_LEVEL, and nothing is left to drop.
    unsafe { nt::PsTerminateSystemThread(nt::STATUS_SUCCESS) };
}

impl<C: ThreadRoutine> Drop for Thread<C> {
    fn drop(&mut self) {
        // SAFETY: a drop runs at most at DISPATCH_LEVEL; an event may be set, and work deferred, while a spin lock is held.
        self.stop(&mut unsafe { CallerLevel::assume() });
    }
}

/// The routine of the link: waits for the last instructions of the thread, and drops its owner of the value.
///
/// # Safety
/// Called once, after [`Inner::record_end`] deferred the link, which is the first field of an `Inner<C>`.
unsafe fn ended<C: ThreadRoutine>(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    // SAFETY: the link is the first field of a value, which owns itself.
    let inner = unsafe { link.cast::<Inner<C>>().as_ref() };
    let owner = inner.owner.load(Ordering::Relaxed);
    // SAFETY: `stop` gave up the owner, and it is made again once.
    let inner = unsafe { Shared::<Inner<C>>::from_raw(owner) };
    let handle = inner.handle.load(Ordering::Relaxed);
    // SAFETY: the handle is an open thread handle.
    unsafe { wait::for_thread(handle, irql) };
    // SAFETY: the handle is open, and is not used again.
    let _ = unsafe { nt::ZwClose(handle) };
}
