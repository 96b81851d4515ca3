//! The IRP that a `StartIoQueue`'s device is serving, while it can be cancelled.
//!
//! Everything here happens under the cancel spin lock. `State::cancelable` points to the IRP from
//! [`CurrentIrp::make_cancelable`] until one of these takes it, and so decides who owns the IRP:
//!
//! * [`CancelableIrp::take_back`], which the driver calls;
//! * the Cancel routine, which `IoCancelIrp` calls with the lock held;
//! * a cleanup, a purge or a removal.
//!
//! While it points to the IRP, the Cancel routine has not run, since it takes the IRP first. So the IRP is not completed
//! before the lock is released. `IoCancelIrp` can exchange the routine's address before it acquires the lock. The code that takes the IRP then
//! finds no routine, and leaves the IRP to the Cancel routine, which completes it after acquiring the lock.

use core::{marker::PhantomData, mem::ManuallyDrop, mem::offset_of, ptr::NonNull};

use nt::irp::{self, IoSetCancelRoutine};

use super::{CurrentIrp, Start, StartIoQueue, Step};
use crate::{
    CancelSpinLock, DeviceObject, Error, IrpView, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks,
    io::{
        cancel_lock::release_in_cancel_routine, device_object::Deferred, extension::Extension,
        file::Queued, queue_callbacks::end,
    },
    ke::irql::{NoSpinLockHeld, SpinLockHeld},
};

/// The IRP that the device of a [`StartIoQueue`] is serving, and that can be cancelled: the driver does not own it.
///
/// [`CurrentIrp::make_cancelable`] returns it. The device's DPC, for instance, [takes the IRP back](CancelableIrp::take_back)
/// when the device has done its work.
///
/// It is also the proof that its queue is busy, and keeps the device. Dropping it has the effect of dropping a
/// [`CurrentIrp`], unless the IRP was cancelled: the queue stays busy.
///
/// WDK: [Canceling IRPs](https://learn.microsoft.com/windows-hardware/drivers/kernel/canceling-irps).
///
/// # Examples
///
/// ```
/// use wdm::{CancelableIrp, NtStatus, QueueCallbacks, Start, irql::DispatchLevel};
///
/// /// Completes the request that the device has served, unless it was cancelled, and returns the next one to start.
/// fn served<C: QueueCallbacks>(irp: CancelableIrp<C>, irql: &mut DispatchLevel) -> Start<C> {
///     match irp.take_back(irql) {
///         Ok(irp) => {
///             let (served, next) = irp.start_next(irql);
///             served.complete(NtStatus::SUCCESS, irql);
///             next
///         }
///         Err(next) => next,
///     }
/// }
/// ```
#[doc(alias = "IoSetCancelRoutine")]
#[must_use = "the queue stays busy until the IRP is taken back"]
pub struct CancelableIrp<C: QueueCallbacks> {
    /// For comparison only, unless `State::cancelable` points to it.
    irp: *mut nt::IRP,
    /// The queue that the IRP was removed from, which the hold of the device's remove lock keeps.
    queue: NonNull<StartIoQueue<C>>,
    /// The IRP's key.
    key: u32,
    // Invariant, as the queue is.
    _queue: PhantomData<fn(C) -> C>,
}

// SAFETY: an IRP is not tied to a thread, its record is `Send`, and the queue, which is shared, is `Sync`.
unsafe impl<C: QueueCallbacks> Send for CancelableIrp<C> {}

// SAFETY: nothing can be done with a shared reference.
unsafe impl<C: QueueCallbacks> Sync for CancelableIrp<C> {}

impl<C: QueueCallbacks> CurrentIrp<C> {
    /// Makes the IRP cancelable while the device serves it (`IoSetCancelRoutine`).
    ///
    /// If the IRP is cancelled, its handle is closed, or the device is removed or the queue
    /// [purged](StartIoQueue::purge), [`QueueCallbacks::current_cancelled`] is called, which stops the device. Then the queue
    /// completes the IRP, like one that waits.
    ///
    /// WDK: [IoSetCancelRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcancelroutine).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// The IRP itself, and the status to complete it with: `STATUS_CANCELLED` if it is cancelled or its handle is closed, and
    /// `STATUS_DELETE_PENDING` if its device is being removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{CancelableIrp, CurrentIrp, NtStatus, QueueCallbacks, SpinLock, Start, irql::NoSpinLockHeld};
    ///
    /// struct Port<C: QueueCallbacks> {
    ///     served: SpinLock<Option<CancelableIrp<C>>>,
    /// }
    ///
    /// impl<C: QueueCallbacks> Port<C> {
    ///     fn start(&self, mut start: Start<C>, irql: &mut impl NoSpinLockHeld) {
    ///         while let Start::Now(current) = start {
    ///             start = match current.make_cancelable(irql) {
    ///                 Ok(served) => {
    ///                     // Start the device after this, since its DPC expects the IRP here.
    ///                     self.served.with(irql, |place, _| *place = Some(served));
    ///                     return;
    ///                 }
    ///                 Err((current, error)) => {
    ///                     let (irp, next) = current.start_next(irql);
    ///                     irp.complete(error, irql);
    ///                     next
    ///                 }
    ///             }
    ///         }
    ///     }
    ///
    ///     /// Called by the device's DPC, both when the device has done its work and when it was stopped.
    ///     fn done(&self, irql: &mut impl NoSpinLockHeld) {
    ///         let Some(served) = self.served.with(irql, |place, _| place.take()) else {
    ///             return;
    ///         };
    ///         let next = match served.take_back(irql) {
    ///             Ok(current) => {
    ///                 let (irp, next) = current.start_next(irql);
    ///                 irp.complete(NtStatus::SUCCESS, irql);
    ///                 next
    ///             }
    ///             Err(next) => next,
    ///         };
    ///         self.start(next, irql);
    ///     }
    /// }
    /// ```
    ///
    /// # What goes wrong in C
    ///
    /// The DPC completes an IRP that its Cancel routine completes too, or reads a field of one that it has completed already; or the
    /// Cancel routine stops the device after the DPC has started the next IRP, which then is never completed.
    #[doc(alias = "IoSetCancelRoutine")]
    pub fn make_cancelable<L: NoSpinLockHeld>(
        self,
        irql: &mut L,
    ) -> Result<CancelableIrp<C>, (Self, Error)> {
        // SAFETY: the queue outlives the IRP.
        let queue = unsafe { self.queue.as_ref() };
        let key = queue.key(&self.irp);
        let hold = queue.device.cast();
        // SAFETY: the IRP's hold keeps the device.
        if !unsafe { Extension::of(queue.device) }.holds.acquire(hold) {
            return Err((self, Error::DELETE_PENDING));
        }
        let (irp, queue_at) = (self.irp.into_raw(), self.queue);
        // SAFETY: this thread owns the IRP, and the lock is held.
        let made = CancelSpinLock::with(irql, |_| unsafe { queue.make_cancelable(irp) });
        let Err(error) = made else {
            return Ok(CancelableIrp {
                irp,
                queue: queue_at,
                key,
                _queue: PhantomData,
            });
        };
        // SAFETY: the hold was acquired above, and the IRP still has its own.
        unsafe { Extension::release(queue.device, hold) };
        let current = Self {
            // SAFETY: the IRP has no Cancel routine, and this thread owns it again.
            irp: unsafe { PendedIrp::from_raw(irp) },
            queue: queue_at,
            _queue: PhantomData,
        };
        Err((current, error))
    }
}

impl<C: QueueCallbacks> CancelableIrp<C> {
    /// Takes the IRP back, so that it can no longer be cancelled and the driver owns it (`IoSetCancelRoutine`).
    ///
    /// WDK: [IoSetCancelRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcancelroutine).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// The next IRP to start, if this one was cancelled: the queue has completed it or is about to.
    #[doc(alias = "IoSetCancelRoutine")]
    pub fn take_back<L: NoSpinLockHeld>(self, irql: &mut L) -> Result<CurrentIrp<C>, Start<C>> {
        let this = ManuallyDrop::new(self);
        let (irp, key) = (this.irp, this.key);
        // SAFETY: the hold keeps the queue.
        let queue = unsafe { this.queue.as_ref() };
        let (is_owned, step) = CancelSpinLock::with(irql, |_| {
            // SAFETY: the lock is held.
            if unsafe { queue.take_cancelable(irp) } {
                return (true, Step::Nothing);
            }
            // SAFETY: the lock is held. The queue is busy, and its IRP is no longer served.
            (false, unsafe { queue.take(key) })
        });
        let result = if is_owned {
            Ok(CurrentIrp {
                // SAFETY: `take_cancelable` made this thread the owner.
                irp: unsafe { PendedIrp::from_raw(irp) },
                queue: this.queue,
                _queue: PhantomData,
            })
        } else {
            Err(queue.follow(step, key, irql))
        };
        let device = queue.device;
        // SAFETY: `make_cancelable` acquired the hold. The queue is no longer used, except through an IRP with its own hold.
        unsafe { Extension::release(device, device.cast()) };
        result
    }
}

impl<C: QueueCallbacks> Drop for CancelableIrp<C> {
    fn drop(&mut self) {
        let at = self.queue.as_ptr();
        let link = at
            .wrapping_byte_add(offset_of!(StartIoQueue<C>, dropped))
            .cast::<Deferred>();
        // SAFETY: the hold keeps the queue. The queue stays busy, so no other current IRP is dropped, and the link is unused.
        unsafe { link.write(Deferred::new(settle_dropped::<C>)) };
        // SAFETY: as above.
        let device = unsafe { (*at).device };
        // SAFETY: the hold keeps the device.
        let extension = unsafe { Extension::of(device) };
        // A second reference, since the work item may release the hold before `defer` returns.
        let object = DeviceObject::clone(&extension.object);
        // SAFETY: the link is in the queue, so it is not NULL.
        let link = unsafe { NonNull::new_unchecked(link) };
        // SAFETY: the hold keeps the queue, with the link, until the link's routine releases it.
        unsafe { object.defer(link) };
    }
}

/// Takes back the IRP of a `CancelableIrp` that was dropped, and drops it too, at `PASSIVE_LEVEL`.
///
/// # Safety
/// Called once with the link of a queue, whose hold the caller gives up.
unsafe fn settle_dropped<C: QueueCallbacks>(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    let offset = offset_of!(StartIoQueue<C>, dropped);
    let queue = link.as_ptr().wrapping_byte_sub(offset);
    // SAFETY: the link is the field of a queue, which the hold keeps.
    let queue = unsafe { &*queue.cast::<StartIoQueue<C>>().cast_const() };
    let owned = CancelSpinLock::with(irql, |_| {
        // SAFETY: the lock is held.
        let irp = unsafe { queue.state() }.cancelable;
        // SAFETY: as above.
        (!irp.is_null() && unsafe { queue.take_cancelable(irp) }).then_some(irp)
    });
    if let Some(irp) = owned {
        // SAFETY: `take_cancelable` made this thread the owner.
        drop(unsafe { PendedIrp::<C::Record>::from_raw(irp) });
    }
    let device = queue.device;
    // SAFETY: guaranteed by the caller; the queue is no longer used.
    unsafe { Extension::release(device, device.cast()) };
}

impl<C: QueueCallbacks> StartIoQueue<C> {
    /// Makes the current IRP cancelable. Fails with the status that the queue would have completed the IRP with, if it had waited.
    ///
    /// # Safety
    /// The caller owns the IRP, which [`StartIoQueue::link`] inserted and which is being served; if this succeeds, it gives up
    /// the IRP. It holds the cancel spin lock.
    unsafe fn make_cancelable(&self, irp: *mut nt::IRP) -> Result<(), Error> {
        // SAFETY: the lock is held.
        let state = unsafe { self.state() };
        // SAFETY: the caller owns the IRP.
        let file = unsafe { self.file(irp) };
        if state.refusal.is_device_gone() {
            return Err(Error::DELETE_PENDING);
        }
        // SAFETY: the lock is held.
        if unsafe { file.is_cleaned_up() } {
            return Err(Error::CANCELLED);
        }
        // SAFETY: the caller owns the IRP. As in `link` of an `IrpQueue`, the routine is set before the flag is read, so that either
        // `IoCancelIrp` takes the routine or the flag is found, or both.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_current::<C>)) };
        // SAFETY: the Cancel routine, if it has been taken, waits for the lock before it completes the IRP.
        let is_cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if is_cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // IoCancelIrp can no longer call the routine.
            return Err(Error::CANCELLED);
        }
        state.cancelable = irp;
        Ok(())
    }

    /// Takes back an IRP that was made cancelable, and returns whether the caller owns it: its Cancel routine has not been
    /// taken.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock. The IRP may have been completed.
    unsafe fn take_cancelable(&self, irp: *mut nt::IRP) -> bool {
        // SAFETY: the lock is held.
        let state = unsafe { self.state() };
        if state.cancelable != irp {
            return false;
        }
        state.cancelable = core::ptr::null_mut();
        // SAFETY: the IRP is not completed yet: its Cancel routine, which would have taken it, has not run, and waits for the lock.
        unsafe { IoSetCancelRoutine(irp, None) }.is_some()
    }

    /// Takes the cancelable IRP from the driver, if there is one and it belongs to `file`, and stops the device.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock.
    pub(super) unsafe fn withdraw_cancelable(
        &self,
        status: NtStatus,
        file: Option<&Queued>,
        held: &mut SpinLockHeld<CancelSpinLock>,
    ) -> Option<Step> {
        // SAFETY: the lock is held.
        let irp = unsafe { self.state() }.cancelable;
        if irp.is_null() {
            return None;
        }
        // SAFETY: the IRP is not completed while the lock is held, as in `take_cancelable`.
        if file.is_some_and(|file| !core::ptr::eq(file, unsafe { self.file(irp) })) {
            return None;
        }
        // SAFETY: as above.
        self.callbacks
            .current_cancelled(unsafe { IrpView::new(&irp) }, held);
        // SAFETY: the lock is held.
        Some(if unsafe { self.take_cancelable(irp) } {
            Step::End(irp, status, false)
        } else {
            Step::Lost
        })
    }
}

/// The Cancel routine of an IRP that is being served.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP on which [`StartIoQueue::make_cancelable`] set it.
unsafe extern "C" fn cancel_current<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: `link` stored the queue before the IRP was served.
    let queue = unsafe { irp::argument4(irp) }.cast::<StartIoQueue<C>>();
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let served_by = unsafe { &*queue.cast_const() };
    // SAFETY: the lock is held.
    let state = unsafe { served_by.state() };
    // If the driver has taken the IRP back, and lost it to this routine, the device may be serving the next one.
    if state.cancelable == irp {
        state.cancelable = core::ptr::null_mut();
        // SAFETY: this routine is called at DISPATCH_LEVEL with the lock held, which is released below.
        let mut held = unsafe { SpinLockHeld::assume() };
        // SAFETY: this routine owns the IRP.
        let view = unsafe { IrpView::new(&irp) };
        served_by.callbacks.current_cancelled(view, &mut held);
    }
    // SAFETY: this is the IRP's Cancel routine, which is called with the lock held.
    let mut irql = unsafe { release_in_cancel_routine(irp) };
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let callbacks = unsafe { &raw const (*queue).callbacks };
    // SAFETY: the IRP is on no queue, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { end(callbacks, irp, NtStatus::CANCELLED, &mut irql) };
}
