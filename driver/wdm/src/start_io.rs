//! The `StartIo` model: IRPs that a device serves one at a time, cancelable while they wait.

use core::{
    cell::UnsafeCell,
    ops::Deref,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::{
    irp::{self, IoMarkIrpPending, IoSetCancelRoutine},
    list::{InitializeListHead, InsertTailList, RemoveEntryList},
};
use pinned_init::{PinInit, pin_data, pin_init, pinned_drop};

use crate::{
    CancelSpinLock, FileId, Handled, Irp, IrpView, NtStatus, PendedIrp, QueueCallbacks, Record,
    cancel_lock::leave_to_caller,
    device_queue::{Busy, Insert, RawDeviceQueue},
    irp::finish,
    irql::{CallerLevel, NoSpinLockHeld},
};

/// The IRP that a [`StartIoQueue`]'s device serves: the only one, pended and not cancelable any more.
///
/// It is also the proof that the queue is busy. When the device is done, [`StartIoQueue::start_next`] takes
/// it, gives the IRP back to be completed, and starts the next. Dropping it instead completes the IRP with
/// `STATUS_INTERNAL_ERROR` and leaves the queue busy: what waits there then waits until it is cancelled.
#[must_use = "the device serves it until it is given to `start_next`"]
pub struct CurrentIrp<R: Record = ()> {
    irp: PendedIrp<R>,
    busy: Busy,
}

impl<R: Record> Deref for CurrentIrp<R> {
    type Target = IrpView<R>;

    fn deref(&self) -> &IrpView<R> {
        &self.irp
    }
}

/// A device queue of cancelable IRPs, of which one at a time is served (`IoStartPacket`,
/// `IoStartNextPacket`).
///
/// [`StartIoQueue::insert`] gives an IRP back that finds the device idle, for the caller to start; others
/// wait, in the order of their keys or of their coming. [`StartIoQueue::start_next`] ends the service of one
/// and gives the next. The I/O manager's own routines do the same for the one queue that a device object
/// has; a device of several needs its own, and gets the ownership besides.
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
/// WDK: "Synchronizing IRP Cancellation", "Using the System's Cancel Spin Lock", "Introduction to Device Queue
/// Objects".
///
/// # Examples
///
/// ```
/// use wdm::{
///     CurrentIrp, Handled, Irp, NtStatus, PassiveLevel, QueueCallbacks, Start, StartIoQueue, irql::NoSpinLockHeld,
/// };
///
/// fn submit<'irp, C: QueueCallbacks>(
///     queue: &StartIoQueue<C>,
///     irp: Irp<'irp, C::Record>,
///     irql: &mut PassiveLevel,
/// ) -> Handled<'irp> {
///     let (start, pending) = queue.insert(irp, None, irql);
///     serve(queue, start, irql);
///     pending
/// }
///
/// fn serve<C: QueueCallbacks>(
///     queue: &StartIoQueue<C>,
///     mut start: Start<C::Record>,
///     irql: &mut impl NoSpinLockHeld,
/// ) {
///     while let Start::Now(current) = start {
///         // The device does its work at once; then:
///         let (irp, next) = queue.start_next(current, None, irql);
///         irp.complete(NtStatus::SUCCESS, irql);
///         start = next;
///     }
/// }
/// ```
///
/// # Invariants
///
/// * All but `in_charge` and `callbacks` is read and changed with the cancel spin lock held.
/// * An IRP on `queue` was inserted by [`StartIoQueue::insert`]; it names this queue, has the Cancel routine
///   [`cancel_routine`] or is the IRP of one that has been called and waits for the lock.
/// * `in_charge` counts the IRPs on the queue and those which this queue has yet to end.
#[pin_data(PinnedDrop)]
pub struct StartIoQueue<C: QueueCallbacks> {
    #[pin]
    queue: RawDeviceQueue,
    state: UnsafeCell<State>,
    in_charge: AtomicUsize,
    #[pin]
    callbacks: C,
}

struct State {
    /// Whether an IRP is served.
    busy: bool,
    /// What further IRPs are ended with, where none is taken any more.
    refusing: Option<NtStatus>,
}

// SAFETY: the state is only reached with the cancel spin lock held, IRPs belong to no thread, and the
// callbacks, which every thread may come to call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for StartIoQueue<C> {}

// SAFETY: no part of the queue belongs to a thread; the callbacks go along, and are dropped, with it.
unsafe impl<C: QueueCallbacks + Send> Send for StartIoQueue<C> {}

/// What the caller has to do next.
#[must_use = "an IRP that is to be started is on no queue"]
pub enum Start<R: Record = ()> {
    /// Start this IRP: the device is the caller's.
    Now(CurrentIrp<R>),
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
    /// Nothing.
    Nothing,
}

impl<C: QueueCallbacks> StartIoQueue<C> {
    /// Initialises an empty queue whose device is idle (`KeInitializeDeviceQueue`), and with it the driver's
    /// part: a value, or an initialiser of one.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn new(callbacks: impl PinInit<C>) -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- RawDeviceQueue::new(),
            state: UnsafeCell::new(State { busy: false, refusing: None }),
            in_charge: AtomicUsize::new(0),
            callbacks <- callbacks,
        })
    }

    /// What the driver gave to [`StartIoQueue::new`].
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP: gives it back to be started if the device is idle, else queues it and makes it
    /// cancelable (`IoMarkIrpPending`, `IoSetCancelRoutine`, `KeInsertDeviceQueue` or, with a key,
    /// `KeInsertByKeyDeviceQueue`).
    ///
    /// An IRP that is cancelled already, or that the queue was told to [refuse](StartIoQueue::refuse), is
    /// completed at once; the dispatch routine returns `STATUS_PENDING` all the same.
    ///
    /// WDK: "`IoStartPacket` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn insert<'irp, L: NoSpinLockHeld>(
        &self,
        irp: Irp<'irp, C::Record>,
        key: Option<u32>,
        irql: &mut L,
    ) -> (Start<C::Record>, Handled<'irp>) {
        let (irp, pending) = irp.into_pending();
        self.in_charge.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the IRP was owned, and is the queue's now; the lock is held.
        let step = CancelSpinLock::with(irql, |_| unsafe { self.link(irp, key) });
        (self.follow(step, key, irql), pending)
    }

    /// Ends the service of an IRP, which is given back to be completed, and gives the next one to be started
    /// (`KeRemoveDeviceQueue` or, with a key, `KeRemoveByKeyDeviceQueue`; `IoSetCancelRoutine`).
    ///
    /// With a key, the next is the first IRP whose own is not smaller, or else the first of all.
    ///
    /// WDK: "`IoStartNextPacket` function", "`IoStartNextPacketByKey` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn start_next<L: NoSpinLockHeld>(
        &self,
        current: CurrentIrp<C::Record>,
        key: Option<u32>,
        irql: &mut L,
    ) -> (PendedIrp<C::Record>, Start<C::Record>) {
        let CurrentIrp {
            irp,
            busy: Busy(()),
        } = current;
        // SAFETY: the lock is held, and the queue is busy: `current` was served.
        let step = CancelSpinLock::with(irql, |_| unsafe { self.take(key) });
        (irp, self.follow(step, key, irql))
    }

    /// Cancels every queued IRP that came through an open file: what `IRP_MJ_CLEANUP` asks for. The one
    /// that is served goes on.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn cleanup<L: NoSpinLockHeld>(&self, file: FileId, irql: &mut L) {
        self.end_matching(NtStatus::CANCELLED, irql, |irp| irp.file() == file);
    }

    /// Ends every IRP that is inserted from now on with a status, and leaves those on the queue there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn refuse<L: NoSpinLockHeld>(&self, status: NtStatus, irql: &mut L) {
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusing = Some(status));
    }

    /// Takes IRPs again after [`StartIoQueue::refuse`] or [`StartIoQueue::purge`].
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn accept<L: NoSpinLockHeld>(&self, irql: &mut L) {
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.state() }.refusing = None);
    }

    /// Refuses further IRPs, and ends those on the queue with the same status. The one that is served goes
    /// on.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: NtStatus, irql: &mut L) {
        self.refuse(status, irql);
        self.end_matching(status, irql, |_| true);
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
    /// The caller owns the IRP, has counted it in `in_charge`, and holds the cancel spin lock.
    unsafe fn link(&self, irp: *mut nt::IRP, key: Option<u32>) -> Step {
        // SAFETY: the caller owns the IRP, and nobody can complete it before the lock is released.
        unsafe { IoMarkIrpPending(irp) };
        // SAFETY: the lock is held.
        let state = unsafe { self.state() };
        if let Some(status) = state.refusing {
            return Step::End(irp, status, false);
        }
        // SAFETY: the caller owns the IRP, which is on no list.
        unsafe { note(irp, core::ptr::from_ref(self).cast(), key) };
        // SAFETY: the IRP is this thread's. IoCancelIrp calls the routine only once it has the cancel spin lock.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        // SAFETY: the entry is the driver's while it has the IRP, and on no queue.
        if let Insert::StartNow(Busy(())) = unsafe { self.insert_entry(irp, key) } {
            state.busy = true;
            // SAFETY: the lock is held, and the IRP is on no queue.
            return unsafe { settle(irp) }.unwrap_or_else(|| {
                // SAFETY: the lock is held, and the queue is busy with an IRP that is not served after all.
                unsafe { self.take(key) }
            });
        }
        // Cancelled before: whoever did so found no routine, so it is ended here, unless the routine is on
        // its way to the lock meanwhile.
        // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // SAFETY: the entry was inserted above, and the lock has been held since.
            unsafe { nt::KeRemoveEntryDeviceQueue(self.queue.raw(), irp::device_queue_entry(irp)) };
            return Step::End(irp, NtStatus::CANCELLED, false);
        }
        Step::Nothing
    }

    /// Inserts an IRP's entry.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, so the IRQL is `DISPATCH_LEVEL`; the entry is on no queue.
    unsafe fn insert_entry(&self, irp: *mut nt::IRP, key: Option<u32>) -> Insert {
        let entry = irp::device_queue_entry(irp);
        let queued = match key {
            // SAFETY: passed on to the caller.
            Some(key) => unsafe { nt::KeInsertByKeyDeviceQueue(self.queue.raw(), entry, key) },
            // SAFETY: passed on to the caller.
            None => unsafe { nt::KeInsertDeviceQueue(self.queue.raw(), entry) },
        };
        if queued == 0 {
            Insert::StartNow(Busy(()))
        } else {
            Insert::Queued
        }
    }

    /// Removes the next IRP, or makes the queue not busy.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock, and the queue is busy, with nothing that is served any more.
    unsafe fn take(&self, key: Option<u32>) -> Step {
        loop {
            let entry = match key {
                // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL, and the queue is busy.
                Some(key) => unsafe { nt::KeRemoveByKeyDeviceQueue(self.queue.raw(), key) },
                // SAFETY: as above.
                None => unsafe { nt::KeRemoveDeviceQueue(self.queue.raw()) },
            };
            if entry.is_null() {
                // SAFETY: the lock is held.
                unsafe { self.state() }.busy = false;
                return Step::Nothing;
            }
            // SAFETY: every entry of the queue is an IRP's.
            let irp = unsafe { irp::from_device_queue_entry(entry) };
            // SAFETY: the lock is held, and the IRP is on no queue now.
            if let Some(step) = unsafe { settle(irp) } {
                return step;
            }
        }
    }

    /// Does what was found under the lock, which is released now, until there is an IRP to start or none.
    fn follow<L: NoSpinLockHeld>(
        &self,
        mut step: Step,
        key: Option<u32>,
        irql: &mut L,
    ) -> Start<C::Record> {
        loop {
            match step {
                Step::Nothing => return Start::Nothing,
                Step::Serve(irp) => {
                    self.in_charge.fetch_sub(1, Ordering::Release);
                    // SAFETY: `settle` won the exchange of the Cancel routine for an IRP on no queue.
                    let irp = unsafe { PendedIrp::from_raw(irp) };
                    return Start::Now(CurrentIrp {
                        irp,
                        busy: Busy(()),
                    });
                }
                Step::End(irp, status, next) => {
                    // SAFETY: the IRP is on no queue and has no Cancel routine, so it is owned here.
                    unsafe { Self::end(self, irp, status, irql) };
                    if !next {
                        return Start::Nothing;
                    }
                    // SAFETY: the lock is held, and the queue is busy with nothing that is served.
                    step = CancelSpinLock::with(irql, |_| unsafe { self.take(key) });
                }
            }
        }
    }

    fn end_matching<L: NoSpinLockHeld>(
        &self,
        status: NtStatus,
        irql: &mut L,
        matches: impl Fn(&IrpView<C::Record>) -> bool,
    ) {
        let mut over = LIST_HEAD;
        let over = &raw mut over;
        // SAFETY: the list is this stack's.
        unsafe { InitializeListHead(over) };
        // SAFETY: the lock is held.
        CancelSpinLock::with(irql, |_| unsafe { self.pick(&matches, over) });
        // SAFETY: the list is this thread's alone now: its IRPs have no Cancel routine.
        while let Some(irp) = unsafe { first_of(over) } {
            // SAFETY: as above, and the IRP is on no list.
            unsafe { Self::end(self, irp, status, irql) };
        }
    }

    /// Moves the queued IRPs that match to a list, and leaves the others as they are.
    ///
    /// A device queue cannot be looked through. So all are removed, and those that do not match are inserted
    /// again in the same order; the queue that was busy is made busy again in between.
    ///
    /// # Safety
    /// The caller holds the cancel spin lock; `over` is an empty list of its own.
    unsafe fn pick(
        &self,
        matches: &impl Fn(&IrpView<C::Record>) -> bool,
        over: *mut nt::LIST_ENTRY,
    ) {
        let mut kept = LIST_HEAD;
        let kept = &raw mut kept;
        // SAFETY: the list is this stack's.
        unsafe { InitializeListHead(kept) };
        loop {
            // SAFETY: the lock is held, so the IRQL is DISPATCH_LEVEL. Every key is at least 0.
            let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(self.queue.raw(), 0) };
            if entry.is_null() {
                break;
            }
            // SAFETY: every entry of the queue is an IRP's.
            let irp = unsafe { irp::from_device_queue_entry(entry) };
            // SAFETY: nobody completes the IRP as long as the lock is held.
            let list = if !matches(unsafe { IrpView::new(&irp) }) {
                kept
            // SAFETY: as above.
            } else if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
                over
            } else {
                // Its Cancel routine waits for the lock, and finds it on no queue.
                continue;
            };
            // SAFETY: an entry that is on no device queue is the driver's, and the list this thread's.
            unsafe { InsertTailList(list, entry.cast()) };
        }
        // SAFETY: the lock is held.
        if !unsafe { self.state() }.busy {
            return;
        }
        let mut served = nt::KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] };
        // SAFETY: the queue is not busy, so the entry is not queued, and the routine keeps no pointer to it.
        unsafe { nt::KeInsertDeviceQueue(self.queue.raw(), &raw mut served) };
        // SAFETY: the list is this thread's.
        while let Some(irp) = unsafe { first_of(kept) } {
            // SAFETY: the IRP was inserted once with this key, by `link`, and its entry is on no queue. The queue
            // is busy, so it is queued.
            let key = unsafe { key_of(irp) };
            // SAFETY: as above.
            let _ = unsafe { self.insert_entry(irp, key) };
        }
    }

    /// Tells the driver, then completes an IRP that the queue is still in charge of.
    ///
    /// # Safety
    /// The caller owns the IRP, on no queue and without a Cancel routine. `queue` is alive; it may be
    /// gone once the IRP is no longer counted.
    unsafe fn end<L: NoSpinLockHeld>(
        queue: *const Self,
        irp: *mut nt::IRP,
        status: NtStatus,
        irql: &mut L,
    ) {
        // SAFETY: the queue waits, before it goes, until `in_charge` is down to zero.
        let callbacks = unsafe { &(*queue).callbacks };
        // SAFETY: the caller owns the IRP.
        callbacks.before_completion(unsafe { IrpView::new(&irp) }, status, irql);
        // SAFETY: as for the callbacks; this is the last time that the queue is touched for this IRP.
        let in_charge = unsafe { &(*queue).in_charge };
        in_charge.fetch_sub(1, Ordering::Release);
        // SAFETY: the caller owns the IRP and gives it up. The token says that no spin lock is held.
        unsafe { finish::<C::Record>(irp, status, 0) };
    }
}

/// Takes an IRP that is to be served away from its Cancel routine: rule 6. `None` if the routine has it.
///
/// # Safety
/// The caller holds the cancel spin lock; the IRP was inserted by [`StartIoQueue::link`] and is on no queue.
unsafe fn settle(irp: *mut nt::IRP) -> Option<Step> {
    // SAFETY: the Cancel routine, if it has been called, waits for the lock before it completes.
    unsafe { IoSetCancelRoutine(irp, None) }?;
    // Nobody will call the routine now. An IRP that was cancelled when it had none yet is not served.
    // SAFETY: the exchange was won, so the IRP is this thread's.
    if unsafe { irp::is_cancel_requested(irp) } {
        Some(Step::End(irp, NtStatus::CANCELLED, true))
    } else {
        Some(Step::Serve(irp))
    }
}

const LIST_HEAD: nt::LIST_ENTRY = nt::LIST_ENTRY {
    Flink: core::ptr::null_mut(),
    Blink: core::ptr::null_mut(),
};

/// Takes the first IRP off a list of device queue entries that are on no device queue.
///
/// # Safety
/// The list is the caller's alone.
unsafe fn first_of(list: *mut nt::LIST_ENTRY) -> Option<*mut nt::IRP> {
    // SAFETY: passed on to the caller.
    let first = unsafe { (*list).Flink };
    if first == list {
        return None;
    }
    // SAFETY: the entry is on the list.
    unsafe { RemoveEntryList(first) };
    // SAFETY: the list has entries of IRPs alone.
    Some(unsafe { irp::from_device_queue_entry(first.cast()) })
}

/// Notes in an IRP, where others have their list entry, which queue it is on and with which key.
///
/// # Safety
/// The caller owns the IRP, which is on no list, and puts it on none.
unsafe fn note(irp: *mut nt::IRP, queue: *const (), key: Option<u32>) {
    let key = key.map_or(0, |key| key as usize + 1);
    let note = nt::LIST_ENTRY {
        Flink: queue.cast_mut().cast(),
        Blink: core::ptr::without_provenance_mut(key),
    };
    // SAFETY: the entry is the driver's while it has the IRP.
    unsafe { irp::list_entry(irp).write(note) };
}

/// The key that an IRP was inserted with.
///
/// # Safety
/// [`note`] was called for the IRP, which is not completed yet.
unsafe fn key_of(irp: *mut nt::IRP) -> Option<u32> {
    // SAFETY: passed on to the caller.
    let noted = unsafe { (*irp::list_entry(irp)).Blink };
    u32::try_from(noted.addr().checked_sub(1)?).ok()
}

#[pinned_drop]
impl<C: QueueCallbacks> PinnedDrop for StartIoQueue<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: as for the drop of an IrpQueue: no code of a driver runs above DISPATCH_LEVEL with this crate,
        // and a queue is dropped under no spin lock.
        let mut irql = unsafe { CallerLevel::assume() };
        self.purge(NtStatus::CANCELLED, &mut irql);
        // What is left are IRPs whose Cancel routine was already on its way; each touches the queue once
        // more, briefly, and then counts itself off. Acquire pairs with their Release.
        while self.in_charge.load(Ordering::Acquire) != 0 {
            nt::interlocked::YieldProcessor();
        }
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
    let noted = unsafe { (*irp::list_entry(irp)).Flink };
    let queue = noted.cast::<StartIoQueue<C>>().cast_const();
    // SAFETY: the queue counts this IRP in `in_charge` until `end`, and is not gone before.
    let raw = unsafe { &(*queue).queue }.raw();
    // SAFETY: the entry is on this queue or on none; the lock is held, so that stands still.
    unsafe { nt::KeRemoveEntryDeviceQueue(raw, irp::device_queue_entry(irp)) };
    // SAFETY: this is the IRP's Cancel routine, which holds the lock.
    let mut irql = unsafe { leave_to_caller(irp) };
    // SAFETY: the IRP is on no queue, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { StartIoQueue::end(queue, irp, NtStatus::CANCELLED, &mut irql) };
}
