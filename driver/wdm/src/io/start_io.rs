//! The `StartIo` model: IRPs that a device serves one at a time, cancelable while they wait.

use core::{cell::UnsafeCell, marker::PhantomData, ops::Deref, ptr::NonNull};

use nt::{
    irp::{self, IoMarkIrpPending, IoSetCancelRoutine},
    list::{InsertTailList, RemoveEntryList},
};
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    CancelSpinLock, Error, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks, Record, Shared,
    io::{
        cancel_lock::leave_to_caller,
        device::DeviceQueues,
        file::{self, Queued},
        irp::finish,
        refusal::Refusal,
    },
    ke::{device_queue::RawDeviceQueue, irql::NoSpinLockHeld},
};

/// The IRP that a [`StartIoQueue`]'s device serves: the only one, pended and not cancelable any more.
///
/// It is also the proof that its queue is busy. When the device is done, [`CurrentIrp::start_next`] gives the IRP back to
/// be completed, and starts the next. Dropping it instead completes the IRP with `STATUS_INTERNAL_ERROR` and leaves the
/// queue busy: what waits there then waits until it is cancelled.
#[must_use = "the device serves it until it starts the next one"]
pub struct CurrentIrp<C: QueueCallbacks> {
    irp: PendedIrp<C::Record>,
    /// The queue that the IRP came from. It outlives the IRP.
    queue: NonNull<StartIoQueue<C>>,
    // Invariant, as the queue is.
    _queue: PhantomData<fn(C) -> C>,
}

// SAFETY: an IRP belongs to no thread, its record is `Send`, and the queue, which is shared, is `Sync`.
unsafe impl<C: QueueCallbacks> Send for CurrentIrp<C> {}

// SAFETY: a shared reference shows the IRP, and what its record owns.
unsafe impl<C: QueueCallbacks> Sync for CurrentIrp<C> where <C::Record as Record>::Target: Sync {}

impl<C: QueueCallbacks> Deref for CurrentIrp<C> {
    type Target = IrpView<C::Record>;

    fn deref(&self) -> &IrpView<C::Record> {
        &self.irp
    }
}

impl<C: QueueCallbacks> CurrentIrp<C> {
    /// Ends the service of the IRP, which is given back to be completed, and gives the next one to be started: the first
    /// that arrived (`KeRemoveDeviceQueue`) or, on a queue by key, the first whose key is not smaller than this one's, or
    /// else the first of all (`KeRemoveByKeyDeviceQueue`).
    ///
    /// WDK: [IoStartNextPacket](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacket),
    /// [IoStartNextPacketByKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacketbykey).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoStartNextPacket")]
    #[doc(alias = "IoStartNextPacketByKey")]
    pub fn start_next<L: NoSpinLockHeld>(self, irql: &mut L) -> (PendedIrp<C::Record>, Start<C>) {
        let Self { irp, queue, .. } = self;
        // SAFETY: the queue outlives the IRP, which the caller completes later.
        let queue = unsafe { queue.as_ref() };
        let key = queue.key(&irp);
        // SAFETY: the lock is held, and the queue is busy: this IRP was served.
        let step = CancelSpinLock::with(irql, |_| unsafe { queue.take(key) });
        (irp, queue.follow(step, key, irql))
    }
}

/// In which order a [`StartIoQueue`] serves its IRPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartIoOrder {
    /// As they arrived (`KeInsertDeviceQueue`, `KeRemoveDeviceQueue`).
    Arrival,
    /// By [`QueueCallbacks::key`]: upwards from the key of the last, then again from the smallest
    /// (`KeInsertByKeyDeviceQueue`, `KeRemoveByKeyDeviceQueue`).
    Key,
}

/// A device queue of cancelable IRPs, of which one at a time is served (`IoStartPacket`,
/// `IoStartNextPacket`).
///
/// [`StartIoQueue::insert`] gives an IRP back that finds the device idle, for the caller to start; others
/// wait, in the queue's [order](StartIoOrder). [`CurrentIrp::start_next`] ends the service of one
/// and gives the next. The I/O manager's own routines do the same for the one queue that a device object
/// has; a device of several needs its own.
///
/// The queue belongs to its device, as an [`IrpQueue`](crate::IrpQueue) does.
///
/// The system's cancel spin lock protects the queue, as it does that of the I/O manager: with it held an IRP
/// is inserted and becomes cancelable, or is removed and stops to be, in one step. So the window in which
/// `StartIo` is called with an IRP that is already being cancelled, and has to compare it with `CurrentIrp`,
/// is not there. While an IRP is served it cannot be cancelled: keep that short.
///
/// # What goes wrong in C
///
/// `StartIo` looks at `Irp->Cancel` without the cancel spin lock, or forgets to clear the Cancel routine; the
/// Cancel routine completes the IRP with the lock held, or takes the head of the queue for its own IRP; a
/// `StartIo` routine that fails calls `IoStartNextPacket`, which calls `StartIo`, and so on until the stack is
/// used up. Here nothing calls the driver: `start_next` returns.
///
/// WDK: [Using the System's Cancel Spin
/// Lock](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-the-system-s-cancel-spin-lock), [Introduction to
/// Device Queue Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-device-queue-objects).
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
///         // The device does its work at once; then:
///         let (irp, next) = current.start_next(irql);
///         irp.complete(NtStatus::SUCCESS, irql);
///         start = next;
///     }
/// }
/// ```
///
/// # Invariants
///
/// * `state`, and the files' lists for this queue, are read and changed with the cancel spin lock held.
/// * An IRP on `queue` was sent to `device`, and inserted by [`StartIoQueue::link`]; it names this queue, and its Cancel
///   routine is [`cancel_routine`], or has been called and waits for the lock. It is on the list of its file too, if it has
///   one.
/// * The queue outlives every IRP that was inserted: each holds the device's remove lock until it is completed, and the
///   device owns the queue until nobody holds that any more.
#[pin_data]
pub struct StartIoQueue<C: QueueCallbacks> {
    #[pin]
    queue: RawDeviceQueue,
    state: UnsafeCell<State>,
    order: StartIoOrder,
    /// The device that the queue belongs to. Its address is compared only.
    device: *mut nt::DEVICE_OBJECT,
    /// The queue's place among the device's.
    index: usize,
    /// The IRPs that were sent through no file.
    #[pin]
    of_no_file: Queued,
    #[pin]
    callbacks: C,
    // Invariant: the IRPs' records are those of this very type of callbacks.
    _records: PhantomData<fn(C) -> C>,
}

struct State {
    /// Whether an IRP is served.
    busy: bool,
    refusal: Refusal,
}

// SAFETY: the state is only reached with the cancel spin lock held, IRPs belong to no thread, and the
// callbacks, which every thread may come to call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for StartIoQueue<C> {}

// SAFETY: no part of the queue belongs to a thread; the callbacks, which go along and are dropped with it, are `Send`.
unsafe impl<C: QueueCallbacks> Send for StartIoQueue<C> {}

/// What the caller has to do next.
#[must_use = "an IRP that is to be started is on no queue"]
pub enum Start<C: QueueCallbacks> {
    /// Start this IRP: the device is the caller's.
    Now(CurrentIrp<C>),
    /// Nothing: the IRP waits, or none does.
    Nothing,
}

/// What a look at the queue under the lock found.
enum Step {
    /// An IRP to be served.
    Serve(*mut nt::IRP),
    /// An IRP to be ended without being served; and whether it was the one to be served, so that the next one
    /// is to be looked for.
    End(*mut nt::IRP, NtStatus, bool),
    /// An IRP whose Cancel routine waits for the lock, to which it is left; another one is to be looked for.
    Lost,
    /// Nothing.
    Nothing,
}

impl<C: QueueCallbacks> StartIoQueue<C> {
    /// Makes an empty queue of a new device, which is idle (`KeInitializeDeviceQueue`), and with it the driver's
    /// part: a value, or an initialiser of one.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn new(
        order: StartIoOrder,
        callbacks: impl PinInit<C>,
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<Shared<Self>, Error> {
        device.add_queue(irql, |device, index| {
            try_pin_init!(Self {
                queue <- RawDeviceQueue::new(),
                state: UnsafeCell::new(State { busy: false, refusal: Refusal::NONE }),
                order,
                device,
                index,
                of_no_file <- Queued::new(),
                callbacks <- callbacks,
                _records: PhantomData,
            }? Error)
        })
    }

    /// What the driver gave to [`StartIoQueue::new`].
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP: gives it back to be started if the device is idle, else queues it and makes it
    /// cancelable (`IoMarkIrpPending`, `IoSetCancelRoutine`, `KeInsertDeviceQueue` or `KeInsertByKeyDeviceQueue`).
    ///
    /// The dispatch routine returns `STATUS_PENDING` in every case. The IRP is completed at once if it is cancelled
    /// already, if its handle is closed already, or if the queue was told to [refuse](StartIoQueue::refuse) it; and, with
    /// `STATUS_INVALID_DEVICE_REQUEST`, if it was sent to another device than the queue's.
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
        let (irp, pending) = irp.into_pending();
        // SAFETY: the IRP was owned, and nobody else can complete it yet.
        unsafe { IoMarkIrpPending(irp) };
        // SAFETY: the IRP was owned.
        let step = if unsafe { irp::device_object(irp) } == self.device {
            // SAFETY: the IRP was owned, and is the queue's now; the lock is held.
            CancelSpinLock::with(irql, |_| unsafe { self.link(irp, key) })
        } else {
            // Its device is not the one that keeps the queue.
            Step::End(irp, NtStatus::INVALID_DEVICE_REQUEST, false)
        };
        (self.follow(step, key, irql), pending)
    }

    /// Ends every IRP that is inserted from now on with a status, and leaves those on the queue there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn refuse<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusal.set(Some(status)));
    }

    /// Takes IRPs again after [`StartIoQueue::refuse`] or [`StartIoQueue::purge`], unless the device is gone.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn accept<L: NoSpinLockHeld>(&self, irql: &mut L) {
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusal.set(None));
    }

    /// Refuses further IRPs, and ends those on the queue with the same status. The one that is served goes
    /// on.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        self.refuse(status, irql);
        self.end_waiting(status, irql);
    }

    /// The key of an IRP, which counts on a queue by key only.
    fn key(&self, irp: &IrpView<C::Record>) -> u32 {
        match self.order {
            StartIoOrder::Arrival => 0,
            StartIoOrder::Key => self.callbacks.key(irp),
        }
    }

    /// The state.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, and has no other reference to the state.
    #[expect(clippy::mut_from_ref, reason = "the lock is what makes it exclusive")]
    unsafe fn state(&self) -> &mut State {
        // SAFETY: passed on to the caller.
        unsafe { &mut *self.state.get() }
    }

    /// Inserts an IRP and makes it cancelable, or says what is to be done with it instead.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended and was sent to the queue's device, and holds the cancel spin lock.
    unsafe fn link(&self, irp: *mut nt::IRP, key: u32) -> Step {
        // SAFETY: the lock is held.
        let state = unsafe { self.state() };
        if let Some(status) = state.refusal.status() {
            return Step::End(irp, status, false);
        }
        // SAFETY: the IRP is owned, and was sent to the queue's device; its file stays until it is completed.
        let queued = unsafe { file::queued(irp, self.index) }.unwrap_or(&self.of_no_file);
        // SAFETY: the lock is held.
        if unsafe { queued.is_cleaned_up() } {
            return Step::End(irp, NtStatus::CANCELLED, false);
        }
        // SAFETY: the caller owns the IRP, which ends here: it is not passed on.
        unsafe { irp::set_argument4(irp, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: the lock is held; the entry is the driver's while it has the IRP, and on no list.
        unsafe { InsertTailList(queued.head(), irp::list_entry(irp)) };
        // SAFETY: the IRP is this thread's. IoCancelIrp calls the routine only once it has the cancel spin lock.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        let (queue, entry) = (self.queue.raw(), irp::device_queue_entry(irp));
        let was_busy = match self.order {
            // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL; the entry is the driver's, and on no queue.
            StartIoOrder::Arrival => unsafe { nt::KeInsertDeviceQueue(queue, entry) },
            // SAFETY: as above.
            StartIoOrder::Key => unsafe { nt::KeInsertByKeyDeviceQueue(queue, entry, key) },
        };
        if was_busy == 0 {
            state.busy = true;
            // SAFETY: the lock is held, and the IRP is on no queue.
            return match unsafe { settle(irp) } {
                // SAFETY: the lock is held, and the queue is busy with an IRP that is not served after all.
                Step::Lost => unsafe { self.take(key) },
                step => step,
            };
        }
        // Cancelled before: whoever did so found no routine, so it is ended here, unless the routine is on
        // its way to the lock by now.
        // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // SAFETY: the entry was inserted above, and the lock has been held since.
            unsafe { self.unlink(irp) };
            return Step::End(irp, NtStatus::CANCELLED, false);
        }
        Step::Nothing
    }

    /// Takes an IRP off the queue and off its file's list, if it is still there.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, and [`StartIoQueue::link`] inserted the IRP into this queue.
    unsafe fn unlink(&self, irp: *mut nt::IRP) {
        let entry = irp::device_queue_entry(irp);
        // SAFETY: the entry is on this queue or on none; the lock is held, so that stands still.
        unsafe { nt::KeRemoveEntryDeviceQueue(self.queue.raw(), entry) };
        // SAFETY: the entry is on the list of its file or linked to itself, and the lock is held.
        unsafe { RemoveEntryList(irp::list_entry(irp)) };
    }

    /// Removes the next IRP, or makes the queue not busy.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, and the queue is busy, with nothing that is served any more.
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
        // SAFETY: every entry of the queue is an IRP's.
        let irp = unsafe { irp::from_device_queue_entry(entry) };
        // SAFETY: the lock is held, and the IRP is on no queue now.
        unsafe { settle(irp) }
    }

    /// Removes the first IRP that waits, to be ended, and leaves the one that is served alone.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock.
    unsafe fn take_waiting(&self, status: NtStatus) -> Step {
        // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL. Every key is at least 0.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(self.queue.raw(), 0) };
        if entry.is_null() {
            // The routine has made the empty queue not busy. If an IRP is served, that is wrong: make it busy again.
            // SAFETY: the lock is held.
            if unsafe { self.state() }.busy {
                let mut served = nt::KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] };
                // SAFETY: the queue is not busy, so the entry is not queued, and the routine keeps no pointer to it.
                unsafe { nt::KeInsertDeviceQueue(self.queue.raw(), &raw mut served) };
            }
            return Step::Nothing;
        }
        // SAFETY: every entry of the queue is an IRP's.
        let irp = unsafe { irp::from_device_queue_entry(entry) };
        // SAFETY: the lock is held, and the IRP was inserted by `link`.
        unsafe { self.withdraw(irp, status) }
    }

    /// Takes an IRP that waits, or has waited, off the queue and away from its Cancel routine, to be ended.
    ///
    /// # Safety
    /// As for [`StartIoQueue::unlink`].
    unsafe fn withdraw(&self, irp: *mut nt::IRP, status: NtStatus) -> Step {
        // SAFETY: passed on to the caller.
        unsafe { self.unlink(irp) };
        // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes the IRP.
        if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            Step::End(irp, status, false)
        } else {
            Step::Lost
        }
    }

    /// Does what was found under the lock, which is released now, until there is an IRP to start or none.
    fn follow<L: NoSpinLockHeld>(&self, mut step: Step, key: u32, irql: &mut L) -> Start<C> {
        loop {
            match step {
                Step::Nothing => return Start::Nothing,
                Step::Serve(irp) => {
                    return Start::Now(CurrentIrp {
                        // SAFETY: `settle` won the exchange of the Cancel routine for an IRP on no queue.
                        irp: unsafe { PendedIrp::from_raw(irp) },
                        queue: NonNull::from(self),
                        _queue: PhantomData,
                    });
                }
                Step::End(irp, status, next) => {
                    // SAFETY: the IRP is on no queue and has no Cancel routine, so it is owned here.
                    unsafe { Self::end(self, irp, status, irql) };
                    if !next {
                        return Start::Nothing;
                    }
                }
                Step::Lost => {}
            }
            // SAFETY: the lock is held, and the queue is busy with nothing that is served.
            step = CancelSpinLock::with(irql, |_| unsafe { self.take(key) });
        }
    }

    /// Ends every IRP that waits.
    fn end_waiting<L: NoSpinLockHeld>(&self, status: NtStatus, irql: &mut L) {
        self.end_each(irql, || {
            // SAFETY: the lock is held.
            unsafe { self.take_waiting(status) }
        });
    }

    /// Ends one IRP after the other that `take` finds, each with the lock taken anew.
    fn end_each<L: NoSpinLockHeld>(&self, irql: &mut L, mut take: impl FnMut() -> Step) {
        loop {
            match CancelSpinLock::with(irql, |_| take()) {
                // SAFETY: `withdraw` won the exchange of the Cancel routine and took the IRP off the queue.
                Step::End(irp, status, _) => unsafe { Self::end(self, irp, status, irql) },
                Step::Lost => {}
                Step::Serve(_) | Step::Nothing => return,
            }
        }
    }

    /// Tells the driver, then completes an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, on no queue and without a Cancel routine, and gives it up. `queue` is the one that the IRP
    /// was inserted into; it may be gone when this returns, with the device that the IRP has kept.
    unsafe fn end<L: NoSpinLockHeld>(
        queue: *const Self,
        irp: *mut nt::IRP,
        status: NtStatus,
        irql: &mut L,
    ) {
        // SAFETY: the queue outlives the IRP, which is not completed yet.
        let callbacks = unsafe { &(*queue).callbacks };
        // SAFETY: the caller owns the IRP.
        callbacks.before_completion(unsafe { IrpView::new(&irp) }, status, irql);
        // SAFETY: the caller owns the IRP and gives it up. The token says that no spin lock is held.
        unsafe { finish::<C::Record>(irp, status, 0) };
    }
}

/// Takes an IRP that is to be served away from its Cancel routine and off its file's list: rule 6.
///
/// # Safety
/// The caller holds the cancel spin lock; the IRP was inserted by [`StartIoQueue::link`] and is on no queue.
unsafe fn settle(irp: *mut nt::IRP) -> Step {
    // SAFETY: the entry is on the list of its file or linked to itself, and the lock is held.
    unsafe { RemoveEntryList(irp::list_entry(irp)) };
    // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
    if unsafe { IoSetCancelRoutine(irp, None) }.is_none() {
        return Step::Lost;
    }
    // Nobody will call the routine now. An IRP that was cancelled when it had none yet is not served.
    // SAFETY: the exchange was won, so the IRP is this thread's.
    if unsafe { irp::is_cancel_requested(irp) } {
        Step::End(irp, NtStatus::CANCELLED, true)
    } else {
        Step::Serve(irp)
    }
}

impl<C: QueueCallbacks> DeviceQueues for StartIoQueue<C> {
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel) {
        // SAFETY: the lock is held. From now on nothing is queued for the file.
        CancelSpinLock::with(irql, |_| unsafe { file.set_cleaned_up() });
        self.end_each(irql, || {
            // SAFETY: the lock is held.
            let Some(first) = (unsafe { file.first() }) else {
                return Step::Nothing;
            };
            // SAFETY: the file's list for this queue has entries of IRPs on the queue alone.
            let irp = unsafe { irp::from_list_entry(first) };
            // SAFETY: the lock is held, and the IRP was inserted by `link`.
            unsafe { self.withdraw(irp, NtStatus::CANCELLED) }
        });
    }

    fn end_all(&self, irql: &mut PassiveLevel) {
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusal.set_device_gone());
        self.end_waiting(NtStatus::DELETE_PENDING, irql);
    }
}

/// The Cancel routine of every queued IRP.
///
/// It is entered with the lock that protects the queue. An IRP that it does not find there was removed by
/// somebody who lost the exchange of this very routine, and left the IRP to it.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP that [`StartIoQueue::link`] set it on.
unsafe extern "C" fn cancel_routine<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: `link` noted the queue before it set the routine.
    let queue = unsafe { irp::argument4(irp) }.cast::<StartIoQueue<C>>();
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let unlinked_from = unsafe { &*queue.cast_const() };
    // SAFETY: the lock is held, and `link` inserted the IRP into this queue.
    unsafe { unlinked_from.unlink(irp) };
    // SAFETY: this is the IRP's Cancel routine, which holds the lock.
    let mut irql = unsafe { leave_to_caller(irp) };
    // SAFETY: the IRP is on no queue, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { StartIoQueue::end(queue, irp, NtStatus::CANCELLED, &mut irql) };
}
