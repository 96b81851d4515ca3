//! The `StartIo` model: a device serves one IRP at a time; the others are queued and cancelable.

mod cancelable;
mod current;

use core::{cell::UnsafeCell, marker::PhantomData, ptr::NonNull};

use nt::{
    irp::{self, IoMarkIrpPending, IoSetCancelRoutine},
    list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList},
};
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    CancelSpinLock, Error, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks, Shared,
    io::{
        cancel_lock::release_in_cancel_routine,
        device_object::Deferred,
        file::{self, Queued},
        owned_queue::DeviceQueues,
        queue_callbacks::end,
        refusal::Refusal,
    },
    ke::{
        device_queue::RawDeviceQueue,
        irql::{NoSpinLockHeld, SpinLockHeld},
    },
};

pub use cancelable::CancelableIrp;
pub use current::CurrentIrp;

/// The order in which a [`StartIoQueue`] serves its IRPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartIoOrder {
    /// In the order of arrival (`KeInsertDeviceQueue`, `KeRemoveDeviceQueue`).
    Arrival,
    /// By [`QueueCallbacks::key`]: ascending from the key of the last IRP, then again from the smallest
    /// (`KeInsertByKeyDeviceQueue`, `KeRemoveByKeyDeviceQueue`).
    ///
    /// The two routines search the queue, so at most 1,024 IRPs wait on it.
    Key,
}

/// A device queue of cancelable IRPs for a device that serves one IRP at a time (`IoStartPacket`,
/// `IoStartNextPacket`).
///
/// If the device is idle, [`StartIoQueue::insert`] returns the IRP, which the caller starts; else it queues the IRP
/// in the queue's [order](StartIoOrder). [`CurrentIrp::start_next`] returns the served IRP and the next one. The
/// I/O manager's routines do the same for the one queue of a device object; a device can have several queues of
/// this type.
///
/// The queue belongs to its device, as an [`IrpQueue`](crate::IrpQueue) does.
///
/// The system's cancel spin lock protects the queue, as it protects the I/O manager's: under it, an IRP is inserted
/// and becomes cancelable, or is removed and stops being cancelable, in one step. So `StartIo` is never called with
/// an IRP that is being cancelled, which a driver in C has to detect by comparing it with `CurrentIrp`. An IRP that
/// is being served is cancelable only if the driver [makes it so](CurrentIrp::make_cancelable).
///
/// WDK: [Using the System's Cancel Spin Lock](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-the-system-s-cancel-spin-lock),
/// [Introduction to Device Queue Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-device-queue-objects).
///
/// # Examples
///
/// ```
/// use wdm::{
///     Handled, Irp, NtStatus, PassiveLevel, QueueCallbacks, Start, StartIoQueue, irql::NoSpinLockHeld,
/// };
///
/// fn submit<'irp, C: QueueCallbacks>(
///     queue: &StartIoQueue<C>,
///     irp: Irp<'irp, C::Record>,
///     irql: &mut PassiveLevel,
/// ) -> Handled<'irp> {
///     let (start, pending) = queue.insert(irp, irql);
///     serve(start, irql);
///     pending
/// }
///
/// fn serve<C: QueueCallbacks>(mut start: Start<C>, irql: &mut impl NoSpinLockHeld) {
///     while let Start::Now(current) = start {
///         // The device finishes immediately; then:
///         let (irp, next) = current.start_next(irql);
///         irp.complete(NtStatus::SUCCESS, irql);
///         start = next;
///     }
/// }
/// ```
///
/// # What goes wrong in C
///
/// `StartIo` reads `Irp->Cancel` without the cancel spin lock, or does not clear the Cancel routine; the Cancel
/// routine completes the IRP with the lock held, or removes the head of the queue instead of its own IRP; or a
/// `StartIo` routine that fails calls `IoStartNextPacket`, which calls `StartIo`, and so on until the stack
/// overflows. Here nothing calls the driver back: `start_next` returns the next IRP.
// # Invariants
//
// * `state` and the files' lists for this queue are accessed with the cancel spin lock held.
// * An IRP on `queue` was sent to `device` and inserted by [`StartIoQueue::link`]; its argument 4 points to this
//   queue, and its Cancel routine is [`cancel_routine`], or was called and waits for the lock. It is also on the
//   list of its file, or on the list of IRPs without a file.
// * The queue outlives every IRP that was inserted: each IRP holds the device's remove lock until it is completed,
//   and the device owns the queue until the lock has no holds.
#[doc(alias = "DRIVER_STARTIO")]
#[doc(alias = "IoStartPacket")]
#[doc(alias = "IoStartNextPacket")]
#[pin_data]
pub struct StartIoQueue<C: QueueCallbacks> {
    #[pin]
    queue: RawDeviceQueue,
    state: UnsafeCell<State>,
    order: StartIoOrder,
    /// The device that the queue belongs to, for comparison only.
    device: *mut nt::DEVICE_OBJECT,
    /// The index of the queue among the device's queues.
    index: usize,
    /// The IRPs that were sent without a file object.
    #[pin]
    without_file: Queued,
    /// The link of the work after a [`CancelableIrp`] was dropped.
    dropped: UnsafeCell<Deferred>,
    #[pin]
    callbacks: C,
    // Invariant: the type of the IRPs' records is that of exactly these callbacks.
    _records: PhantomData<fn(C) -> C>,
}

/// The number of IRPs that may wait in the order of their keys, since inserting and removing one can take a step for each of them,
/// under the system's cancel spin lock.
const MOST_BY_KEY: usize = 1_024;

struct State {
    /// The number of IRPs on the queue.
    waiting: usize,
    /// Whether an IRP is being served.
    busy: bool,
    refusal: Refusal,
    /// The IRP that is being served, if it can be cancelled and was not yet; else NULL.
    cancelable: *mut nt::IRP,
}

// SAFETY: the state is accessed only with the cancel spin lock held, IRPs are not tied to a thread, and the
// callbacks, which any thread may call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for StartIoQueue<C> {}

// SAFETY: no part of the queue is tied to a thread; the callbacks, which are dropped with it, are `Send`.
unsafe impl<C: QueueCallbacks> Send for StartIoQueue<C> {}

/// The IRP that the caller has to start, if any.
#[must_use = "an IRP that must be started is not queued"]
pub enum Start<C: QueueCallbacks> {
    /// The device was idle or has served its IRP: start this one.
    Now(CurrentIrp<C>),
    /// No IRP is to be started: the IRP was queued or completed, or the queue is empty.
    Nothing,
}

/// The result of an operation on the queue under the lock.
enum Step {
    /// An IRP to serve.
    Serve(*mut nt::IRP),
    /// An IRP to complete without serving it, and whether the queue is busy with it, so that the next IRP must be
    /// removed.
    End(*mut nt::IRP, NtStatus, bool),
    /// An IRP whose Cancel routine owns it and waits for the lock; the next IRP must be removed.
    Lost,
    /// Nothing.
    Nothing,
}

impl<C: QueueCallbacks> StartIoQueue<C> {
    /// Makes an empty queue of a new device that is idle, with a value or an in-place initialiser of the callbacks
    /// (`KeInitializeDeviceQueue`).
    ///
    /// WDK: [KeInitializeDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializedevicequeue).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "KeInitializeDeviceQueue")]
    pub fn new(
        order: StartIoOrder,
        callbacks: impl PinInit<C>,
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<Shared<Self>, Error> {
        let init = |device, index| {
            try_pin_init!(Self {
                queue <- RawDeviceQueue::new(),
                state: UnsafeCell::new(State {
                    waiting: 0,
                    busy: false,
                    refusal: Refusal::NONE,
                    cancelable: core::ptr::null_mut(),
                }),
                order,
                device,
                index,
                without_file <- Queued::new(),
                dropped: UnsafeCell::new(Deferred::new(|_, _| {})),
                callbacks <- callbacks,
                _records: PhantomData,
            }? Error)
        };
        device.add_queue(irql, init, |queue| queue)
    }

    /// Returns the callbacks that were passed to [`StartIoQueue::new`].
    ///
    /// # IRQL
    /// Any.
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP; returns it if the device is idle, so that the caller starts it, else queues it and makes it
    /// cancelable (`IoStartPacket`).
    ///
    /// This calls `IoMarkIrpPending`, `IoSetCancelRoutine`, and `KeInsertDeviceQueue` or
    /// `KeInsertByKeyDeviceQueue`.
    ///
    /// The dispatch routine returns `STATUS_PENDING` in every case. The queue completes the IRP immediately with
    /// `STATUS_CANCELLED` if it is already cancelled or its handle is already closed, with the status of
    /// [`refuse`](StartIoQueue::refuse) or [`purge`](StartIoQueue::purge) if the queue rejects IRPs, and with
    /// `STATUS_INVALID_DEVICE_REQUEST` if the IRP was sent to another device, or is not a read, write, flush or device control whose data
    /// is buffered or direct: the queue uses a field of the IRP that only these do not need. A queue in the order of keys completes an
    /// IRP with `STATUS_INSUFFICIENT_RESOURCES` if 1,024 others wait.
    ///
    /// WDK: [IoStartPacket](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartpacket).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoStartPacket")]
    pub fn insert<'irp, L: NoSpinLockHeld>(
        &self,
        irp: Irp<'irp, C::Record>,
        irql: &mut L,
    ) -> (Start<C>, Handled<'irp>) {
        let key = self.key(&irp);
        let is_for_queue = !irp.data().has_argument4();
        let (irp, pending) = irp.into_pending();
        // SAFETY: the caller owned the IRP, and no other thread can complete it yet.
        unsafe { IoMarkIrpPending(irp) };
        // SAFETY: the caller owned the IRP.
        let step = if is_for_queue && unsafe { irp::device_object(irp) } == self.device {
            // SAFETY: the caller owned the IRP, and the queue owns it now; the lock is held.
            CancelSpinLock::with(irql, |_| unsafe { self.link(irp, key) })
        } else {
            // The IRP keeps another device than the one that owns the queue, or a lower driver may need what the queue would
            // overwrite.
            Step::End(irp, NtStatus::INVALID_DEVICE_REQUEST, false)
        };
        (self.follow(step, key, irql), pending)
    }

    /// Rejects further IRPs: each is completed with `status` when it is inserted. IRPs on the queue stay there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn refuse<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusal.set(Some(status)));
    }

    /// Accepts IRPs again after [`StartIoQueue::refuse`] or [`StartIoQueue::purge`], unless the device was removed.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn accept<L: NoSpinLockHeld>(&self, irql: &mut L) {
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusal.set(None));
    }

    /// Rejects further IRPs, and completes those on the queue with the same status. The IRP that is being served is
    /// not affected, unless it is [cancelable](CurrentIrp::make_cancelable).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        self.refuse(status, irql);
        self.end_waiting(status, irql);
    }

    /// Returns the key of an IRP; 0 if the queue is not ordered by key.
    fn key(&self, irp: &IrpView<C::Record>) -> u32 {
        match self.order {
            StartIoOrder::Arrival => 0,
            StartIoOrder::Key => self.callbacks.key(irp),
        }
    }

    /// The state.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock and has no other reference to the state.
    #[expect(
        clippy::mut_from_ref,
        reason = "the lock makes the reference exclusive"
    )]
    unsafe fn state(&self) -> &mut State {
        // SAFETY: guaranteed by the caller.
        unsafe { &mut *self.state.get() }
    }

    /// Returns the requests of an IRP's file.
    ///
    /// # Safety
    /// The IRP was sent to the queue's device and is not completed while the reference is used.
    unsafe fn file(&self, irp: *mut nt::IRP) -> &Queued {
        // SAFETY: the IRP was sent to the queue's device; its file stays until it is completed.
        unsafe { file::queued(irp, self.index) }.unwrap_or(&self.without_file)
    }

    /// Inserts an IRP and makes it cancelable, or returns the step that the caller must perform instead.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended and was sent to the queue's device. The caller holds the cancel
    /// spin lock.
    unsafe fn link(&self, irp: *mut nt::IRP, key: u32) -> Step {
        // SAFETY: the lock is held.
        let state = unsafe { self.state() };
        if let Some(status) = state.refusal.status() {
            return Step::End(irp, status, false);
        }
        // SAFETY: the caller owns the IRP.
        let queued = unsafe { self.file(irp) };
        // SAFETY: the lock is held.
        if unsafe { queued.is_cleaned_up() } {
            return Step::End(irp, NtStatus::CANCELLED, false);
        }
        if state.busy && self.order == StartIoOrder::Key && state.waiting == MOST_BY_KEY {
            return Step::End(irp, NtStatus::INSUFFICIENT_RESOURCES, false);
        }
        // SAFETY: the caller owns the IRP, in which `insert` has found that no lower driver uses the argument.
        unsafe { irp::set_argument4(irp, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: the lock is held; the driver may use the entry while it owns the IRP, and it is on no list.
        unsafe { InsertTailList(queued.head(), irp::list_entry(irp)) };
        // SAFETY: this thread owns the IRP. IoCancelIrp calls the routine only after it has acquired the cancel
        // spin lock.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        let (queue, entry) = (self.queue.raw(), irp::device_queue_entry(irp));
        let was_busy = match self.order {
            // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL; the driver may use the entry, and it is on
            // no queue.
            StartIoOrder::Arrival => unsafe { nt::KeInsertDeviceQueue(queue, entry) },
            // SAFETY: as above.
            StartIoOrder::Key => unsafe { nt::KeInsertByKeyDeviceQueue(queue, entry, key) },
        };
        if was_busy == 0 {
            state.busy = true;
            // SAFETY: the lock is held, and the IRP is on no queue.
            return match unsafe { clear_cancel_routine(irp) } {
                // SAFETY: the lock is held, and the queue is busy, but its IRP is not served.
                Step::Lost => unsafe { self.take(key) },
                step => step,
            };
        }
        state.waiting += 1;
        // If the IRP was cancelled before it had a Cancel routine, it is completed here, unless the routine was
        // taken since and waits for the lock.
        // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // SAFETY: the entry was inserted above, under the same acquisition of the lock.
            unsafe { self.unlink(irp) };
            return Step::End(irp, NtStatus::CANCELLED, false);
        }
        Step::Nothing
    }

    /// Removes an IRP from the queue and from its file's list, if it is still on them.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, and [`StartIoQueue::link`] inserted the IRP into this queue.
    unsafe fn unlink(&self, irp: *mut nt::IRP) {
        // SAFETY: `link` inserted the entry into its file's list, or it is linked to itself; the lock is held.
        if unsafe { IsListEmpty(irp::list_entry(irp)) } {
            // It was removed already. Only one of two pages says that the routine leaves an empty queue busy.
            return;
        }
        let entry = irp::device_queue_entry(irp);
        // SAFETY: the entry is on this queue, since it is on its file's list. The lock is held, so the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeRemoveEntryDeviceQueue(self.queue.raw(), entry) };
        // SAFETY: the lock is held.
        unsafe { self.state() }.waiting -= 1;
        // SAFETY: the caller holds the lock, and the IRP was inserted by `link`.
        unsafe { remove_from_file(irp) };
    }

    /// Removes the next IRP, or makes the queue not busy.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock. The queue is busy, and if it has no entry, no IRP is being served.
    unsafe fn take(&self, key: u32) -> Step {
        let entry = match self.order {
            // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL, and the queue is busy.
            StartIoOrder::Arrival => unsafe { nt::KeRemoveDeviceQueue(self.queue.raw()) },
            // SAFETY: as above.
            StartIoOrder::Key => unsafe { nt::KeRemoveByKeyDeviceQueue(self.queue.raw(), key) },
        };
        if entry.is_null() {
            // SAFETY: the lock is held.
            unsafe { self.state() }.busy = false;
            return Step::Nothing;
        }
        // SAFETY: the lock is held.
        unsafe { self.state() }.waiting -= 1;
        // SAFETY: every entry of the queue is in an IRP.
        let irp = unsafe { irp::from_device_queue_entry(entry) };
        // SAFETY: the lock is held, and the IRP is on no queue now.
        unsafe { clear_cancel_routine(irp) }
    }

    /// Removes the first queued IRP, to be completed. The IRP that is being served is not affected.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock.
    unsafe fn take_waiting(&self, status: NtStatus) -> Step {
        // `take` would make an empty queue not busy.
        // SAFETY: the lock is held.
        if unsafe { self.state() }.waiting == 0 {
            return Step::Nothing;
        }
        // SAFETY: the lock is held. The queue has an IRP, so it stays busy for the one that is being served. Every key is at least 0.
        match unsafe { self.take(0) } {
            Step::Serve(irp) | Step::End(irp, ..) => Step::End(irp, status, false),
            step => step,
        }
    }

    /// Removes an IRP from the queue, if it is still there, and clears its Cancel routine, so that it can be
    /// completed.
    ///
    /// # Safety
    /// As for [`StartIoQueue::unlink`].
    unsafe fn withdraw(&self, irp: *mut nt::IRP, status: NtStatus) -> Step {
        // SAFETY: guaranteed by the caller.
        unsafe { self.unlink(irp) };
        // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes the IRP.
        if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            Step::End(irp, status, false)
        } else {
            Step::Lost
        }
    }

    /// Carries out the steps that were determined under the lock, after its release, until there is an IRP to start
    /// or none.
    #[inline(never)]
    fn follow<L: NoSpinLockHeld>(&self, mut step: Step, key: u32, irql: &mut L) -> Start<C> {
        loop {
            match step {
                Step::Nothing => return Start::Nothing,
                Step::Serve(irp) => {
                    return Start::Now(CurrentIrp {
                        // SAFETY: `clear_cancel_routine` won the exchange for an IRP that is on no queue.
                        irp: unsafe { PendedIrp::from_raw(irp) },
                        queue: NonNull::from(self),
                        _queue: PhantomData,
                    });
                }
                Step::End(irp, status, next) => {
                    // SAFETY: the IRP is on no queue and has no Cancel routine, so this thread owns it.
                    unsafe { end(&raw const self.callbacks, irp, status, irql) };
                    if !next {
                        return Start::Nothing;
                    }
                }
                Step::Lost => {}
            }
            // SAFETY: the lock is held, and the queue is busy, but no IRP is being served.
            step = CancelSpinLock::with(irql, |_| unsafe { self.take(key) });
        }
    }

    /// Completes every queued IRP, and the one that is being served if it is cancelable.
    fn end_waiting<L: NoSpinLockHeld>(&self, status: NtStatus, irql: &mut L) {
        self.end_each(irql, &mut |held| {
            // SAFETY: the lock is held.
            let served = unsafe { self.withdraw_cancelable(status, None, held) };
            // SAFETY: as above.
            served.unwrap_or_else(|| unsafe { self.take_waiting(status) })
        });
    }

    /// Completes each IRP that `take` finds, one at a time, each under a new acquisition of the lock.
    fn end_each<L: NoSpinLockHeld>(
        &self,
        irql: &mut L,
        take: &mut dyn FnMut(&mut SpinLockHeld<CancelSpinLock>) -> Step,
    ) {
        loop {
            match CancelSpinLock::with(irql, &mut *take) {
                // SAFETY: `withdraw` won the exchange of the Cancel routine and removed the IRP from the queue.
                Step::End(irp, status, _) => unsafe {
                    end(&raw const self.callbacks, irp, status, irql);
                },
                Step::Lost => {}
                Step::Serve(_) | Step::Nothing => return,
            }
        }
    }
}

/// Removes an IRP from its file's list, if it is still on it.
///
/// # Safety
/// The caller holds the cancel spin lock, and [`StartIoQueue::link`] inserted the IRP.
unsafe fn remove_from_file(irp: *mut nt::IRP) {
    let entry = irp::list_entry(irp);
    // SAFETY: the entry is on its file's list or linked to itself, and the lock is held.
    unsafe { RemoveEntryList(entry) };
    // SAFETY: the entry is on no list now, and may be removed again.
    unsafe { InitializeListHead(entry) };
}

/// Clears the Cancel routine of an IRP that is to be served and removes it from its file's list.
///
/// # Safety
/// The caller holds the cancel spin lock; the IRP was inserted by [`StartIoQueue::link`] and is on no queue.
unsafe fn clear_cancel_routine(irp: *mut nt::IRP) -> Step {
    // SAFETY: the caller holds the lock, and the IRP was inserted by `link`.
    unsafe { remove_from_file(irp) };
    // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
    if unsafe { IoSetCancelRoutine(irp, None) }.is_none() {
        return Step::Lost;
    }
    // IoCancelIrp can no longer call the routine. An IRP that was cancelled before it had a routine is not
    // served.
    // SAFETY: this thread won the exchange, so it owns the IRP.
    if unsafe { irp::is_cancel_requested(irp) } {
        Step::End(irp, NtStatus::CANCELLED, true)
    } else {
        Step::Serve(irp)
    }
}

impl<C: QueueCallbacks> DeviceQueues for StartIoQueue<C> {
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel) {
        // SAFETY: the lock is held. After this, no IRP of the file is queued.
        CancelSpinLock::with(irql, |_| unsafe { file.set_cleaned_up() });
        self.end_each(irql, &mut |held| {
            // SAFETY: the lock is held.
            let served = unsafe { self.withdraw_cancelable(NtStatus::CANCELLED, Some(file), held) };
            if let Some(step) = served {
                return step;
            }
            // SAFETY: the lock is held.
            let Some(first) = (unsafe { file.first() }) else {
                return Step::Nothing;
            };
            // SAFETY: the file's list for this queue contains only entries of IRPs on the queue.
            let irp = unsafe { irp::from_list_entry(first) };
            // SAFETY: the lock is held, and the IRP was inserted by `link`.
            unsafe { self.withdraw(irp, NtStatus::CANCELLED) }
        });
    }

    fn end_all(&self, irql: &mut PassiveLevel) {
        CancelSpinLock::with(irql, |_| {
            // SAFETY: the lock is held.
            unsafe { self.state() }.refusal.set_device_removed();
        });
        self.end_waiting(NtStatus::DELETE_PENDING, irql);
    }
}

/// The Cancel routine of every queued IRP.
///
/// It is called with the lock that protects the queue held. If the IRP is no longer on the queue, another thread
/// removed it, lost the exchange of the Cancel routine, and left the IRP to this routine.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP on which [`StartIoQueue::link`] set it.
unsafe extern "C" fn cancel_routine<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: `link` stored the queue before it set the routine.
    let queue = unsafe { irp::argument4(irp) }.cast::<StartIoQueue<C>>();
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let unlinked_from = unsafe { &*queue.cast_const() };
    // SAFETY: the lock is held, and `link` inserted the IRP into this queue.
    unsafe { unlinked_from.unlink(irp) };
    // SAFETY: this is the IRP's Cancel routine, which is called with the lock held.
    let mut irql = unsafe { release_in_cancel_routine(irp) };
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let callbacks = unsafe { &raw const (*queue).callbacks };
    // SAFETY: the IRP is on no queue, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { end(callbacks, irp, NtStatus::CANCELLED, &mut irql) };
}
