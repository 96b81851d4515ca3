//! A queue of cancelable IRPs under a spin lock of its own.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
};

use nt::{
    irp::{self, IoMarkIrpPending, IoSetCancelRoutine},
    list::{InitializeListHead, InsertHeadList, InsertTailList, IsListEmpty, RemoveEntryList},
};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{
    Error, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp, Record, Shared,
    SpinLock,
    cancel_lock::leave_to_caller,
    device::{DeviceQueues, Extension},
    file::{self, Queued},
    irp::finish,
    irql::{AtMostDispatch, NoSpinLockHeld},
    lock_order::{LockAfter, LockClass, OBJECT_LOCK_RANK, Unlocked},
};

/// What a driver does when its queue completes an IRP by itself.
pub trait QueueCallbacks: Send + Sync + 'static {
    /// What the driver keeps with each IRP: `()`, or an owner such as a [`ZoneBox`](crate::ZoneBox).
    type Record: Record;

    /// Called just before the queue completes an IRP that was cancelled, or that it had to end because it
    /// was told to ([`IrpQueue::refuse`], [`IrpQueue::purge`]) or the device is removed.
    ///
    /// The queue holds no lock during the call, so the callback may take any. It need not, and cannot, complete
    /// the IRP.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn before_completion<L: NoSpinLockHeld>(
        &self,
        irp: &IrpView<Self::Record>,
        status: NtStatus,
        irql: &mut L,
    );

    /// The key of an IRP on a [`StartIoQueue`](crate::StartIoQueue) whose order is by key.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn key(&self, _irp: &IrpView<Self::Record>) -> u32 {
        0
    }
}

/// The class of the spin lock that an [`IrpQueue`] has.
///
/// It is taken alone, unless the driver says otherwise:
/// [`lock_order!(Mine => existing IrpQueueLock)`](crate::lock_order!).
pub struct IrpQueueLock;

// SAFETY: the class comes after `Unlocked`, whose rank is 0; `lock_order!` compares it with others.
unsafe impl LockClass for IrpQueueLock {
    const RANK: u32 = OBJECT_LOCK_RANK;
}

// SAFETY: the rank of `Unlocked` is 0.
unsafe impl LockAfter<Unlocked> for IrpQueueLock {}

/// A first-in, first-out queue that owns the IRPs on it, each of which can be cancelled there.
///
/// [`IrpQueue::insert`] takes a dispatch routine's IRP, pends it and makes it cancelable;
/// [`IrpQueue::remove_first`] and [`IrpQueue::remove_matching`] give an IRP back that nobody can cancel any
/// more. When a queued IRP is cancelled, its handle closed or its device removed, the queue completes it and
/// tells the driver through [`QueueCallbacks`].
///
/// A queue belongs to its device: it is made in [`Device::add`](crate::Device::add), and lives until the device has been
/// removed and the last owner is gone.
///
/// The queue has its own spin lock, so the system's cancel spin lock is held no longer than a Cancel
/// routine must: it is released first of all.
///
/// # What goes wrong in C
///
/// `Irp->Cancel` is looked at before the Cancel routine is set; the routine is not taken back when the look
/// finds it; an IRP whose Cancel routine already runs is completed by the remover as well; the IRP is
/// marked pending after another thread could have completed it; a request that arrives while its handle is being closed
/// stays for good; the queue is freed while a Cancel routine is on its way to it. Here the order is fixed, and each IRP
/// keeps the device, and the device its queues.
///
/// WDK: [Implementing Cancelable IRP
/// Queues](https://learn.microsoft.com/windows-hardware/drivers/kernel/cancel-safe-irp-queues), [Synchronizing IRP
/// Cancellation](https://learn.microsoft.com/windows-hardware/drivers/kernel/synchronizing-irp-cancellation).
///
/// # Examples
///
/// ```
/// use wdm::{
///     Error, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel, QueueCallbacks, Shared,
///     irql::NoSpinLockHeld,
/// };
///
/// struct Quiet;
///
/// impl QueueCallbacks for Quiet {
///     type Record = ();
///
///     fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
/// }
///
/// struct Waiters {
///     queue: Shared<IrpQueue<Quiet>>,
/// }
///
/// impl Waiters {
///     fn new(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
///         Ok(Self { queue: IrpQueue::new(Quiet, device, irql)? })
///     }
///
///     fn wait<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
///         self.queue.insert(irp, irql)
///     }
///
///     fn wake_one(&self, irql: &mut PassiveLevel) {
///         if let Some(irp) = self.queue.remove_first(irql) {
///             irp.complete(NtStatus::SUCCESS, irql);
///         }
///     }
/// }
/// ```
///
/// # Invariants
///
/// * An IRP on the list was sent to `device`, and inserted by [`IrpQueue::link`]; word 2 of its driver context names this
///   queue, and its Cancel routine is [`cancel_routine`] or has been taken by `IoCancelIrp`. It is on the list of its
///   file too, if it has one.
/// * The list, and those of the files for this queue, are read and changed with `state` locked; `state.length` is the
///   list's length.
/// * The queue outlives every IRP that was inserted: each holds the device's remove lock until it is completed, and the
///   device owns the queue until nobody holds that any more.
#[pin_data]
pub struct IrpQueue<C: QueueCallbacks> {
    #[pin]
    state: SpinLock<State, IrpQueueLock>,
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
    /// The device that the queue belongs to. Its address is compared only.
    device: *mut nt::DEVICE_OBJECT,
    /// The queue's place among the device's.
    index: usize,
    #[pin]
    callbacks: C,
    // Invariant: the IRPs' records are those of this very type of callbacks.
    _records: PhantomData<fn(C) -> C>,
    #[pin]
    _pinned: PhantomPinned,
}

struct State {
    length: usize,
    /// What further IRPs are ended with, if none is taken any more.
    refusing: Option<NtStatus>,
}

/// Where an IRP is linked in.
#[derive(Clone, Copy)]
enum End {
    Head,
    Tail,
}

/// What a look at the queue found.
enum Found {
    /// An IRP that is this thread's now.
    Owned(*mut nt::IRP),
    /// An IRP whose Cancel routine is on its way, to which it is left.
    Lost,
    Nothing,
}

// SAFETY: the list is only reached with `state` locked, its IRPs belong to no thread, and the callbacks,
// which every thread may come to call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for IrpQueue<C> {}

// SAFETY: no part of the queue belongs to a thread; the callbacks, which go along and are dropped with it, are `Send`.
unsafe impl<C: QueueCallbacks> Send for IrpQueue<C> {}

impl<C: QueueCallbacks> IrpQueue<C> {
    /// Makes an empty queue of a new device, and with it the driver's part: a value, or an initialiser of one.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn new(
        callbacks: impl PinInit<C>,
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<Shared<Self>, Error> {
        device.add_queue(irql, |device, index| {
            try_pin_init!(Self {
                state <- SpinLock::new(State { length: 0, refusing: None }),
                head <- empty_list(),
                device,
                index,
                callbacks <- callbacks,
                _records: PhantomData,
                _pinned: PhantomPinned,
            }? Error)
        })
    }

    /// What the driver gave to [`IrpQueue::new`].
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP at the end of the queue and makes it cancelable (`IoMarkIrpPending`,
    /// `IoSetCancelRoutine`).
    ///
    /// The dispatch routine returns `STATUS_PENDING` in every case. The IRP is completed at once if it is cancelled
    /// already, if its handle is closed already, or if the queue was told to [refuse](IrpQueue::refuse) it; and, with
    /// `STATUS_INVALID_DEVICE_REQUEST`, if it was sent to another device than the queue's.
    ///
    /// WDK: [IoSetCancelRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcancelroutine).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoSetCancelRoutine")]
    #[doc(alias = "IoCsqInsertIrp")]
    pub fn insert<'irp, L: NoSpinLockHeld>(
        &self,
        irp: Irp<'irp, C::Record>,
        irql: &mut L,
    ) -> Handled<'irp> {
        let (irp, pending) = irp.into_pending();
        // From the moment it is linked another thread may complete the IRP, so it is marked before.
        // SAFETY: the IRP was owned, and nobody else can complete it yet.
        unsafe { IoMarkIrpPending(irp) };
        // SAFETY: as above; it is the queue's now.
        unsafe { self.link_or_end(irp, End::Tail, irql) };
        pending
    }

    /// Puts a pended IRP at the end of the queue, from this or another queue of the device, and makes it cancelable again.
    ///
    /// It is completed at once in the same cases as by [`IrpQueue::insert`]: an IRP that was cancelled while it was on
    /// no queue, for instance, ends here.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn insert_pended<L: NoSpinLockHeld>(&self, irp: PendedIrp<C::Record>, irql: &mut L) {
        // SAFETY: the IRP was owned, and is the queue's now.
        unsafe { self.link_or_end(irp.into_raw(), End::Tail, irql) };
    }

    /// Puts a pended IRP back at the head of the queue, as [`IrpQueue::insert_pended`] does at its end.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn put_back<L: NoSpinLockHeld>(&self, irp: PendedIrp<C::Record>, irql: &mut L) {
        // SAFETY: the IRP was owned, and is the queue's now.
        unsafe { self.link_or_end(irp.into_raw(), End::Head, irql) };
    }

    /// Links an IRP in and makes it cancelable, or ends it if that must not be.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended and on no list, and gives it up.
    unsafe fn link_or_end<L: NoSpinLockHeld>(&self, irp: *mut nt::IRP, end: End, irql: &mut L) {
        // SAFETY: the caller owns the IRP.
        let over = if unsafe { irp::device_object(irp) } == self.device {
            // SAFETY: passed on to the caller; `state` is locked.
            self.state
                .with(irql, |state, _| unsafe { self.link(state, irp, end) })
        } else {
            // Its device is not the one that keeps the queue.
            Some(NtStatus::INVALID_DEVICE_REQUEST)
        };
        if let Some(status) = over {
            // SAFETY: `link` left the IRP on no list and without a Cancel routine, so it is owned here.
            unsafe { Self::end(self, irp, status, irql) };
        }
    }

    /// Links an IRP in and makes it cancelable, or says with which status it must be ended instead.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended, was sent to the queue's device and is on no list, and has locked `state`.
    unsafe fn link(&self, state: &mut State, irp: *mut nt::IRP, end: End) -> Option<NtStatus> {
        // SAFETY: the IRP was sent to this device, and its hold keeps it.
        let gone = unsafe { Extension::of(self.device) }.refusal();
        if let Some(status) = gone.or(state.refusing) {
            return Some(status);
        }
        // SAFETY: the IRP is owned, and was sent to the queue's device; its file stays until it is completed.
        let queued = unsafe { file::queued(irp, self.index) };
        // SAFETY: the lock is held.
        if queued.is_some_and(|queued| unsafe { queued.is_cleaned_up() }) {
            return Some(NtStatus::CANCELLED);
        }
        // SAFETY: the caller owns the IRP.
        unsafe { irp::set_driver_context::<2>(irp, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: the queue has the IRP. IoCancelIrp sets Irp->Cancel and then takes the routine; here
        // the routine is set and then Irp->Cancel read, each with a full barrier between. So at least
        // one of the two sees the other: either it takes the routine, or the look below finds the flag.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // Nobody will call the routine now; the IRP is this thread's again.
            return Some(NtStatus::CANCELLED);
        }
        // A Cancel routine that has been called waits for `state`, so it finds the IRP linked.
        let of_file = irp::second_list_entry(irp);
        match queued {
            // SAFETY: the lock is held; the entry is the driver's while it has the IRP, and on no list.
            Some(queued) => unsafe { insert(queued.head(), of_file, end) },
            // SAFETY: as above. Linked to itself, it can be taken off its list like any other.
            None => unsafe { InitializeListHead(of_file) },
        }
        // SAFETY: as above.
        unsafe { insert(self.head.get(), irp::list_entry(irp), end) };
        state.length += 1;
        None
    }

    /// Takes an IRP off the list, and off its file's, and links it to itself.
    ///
    /// # Safety
    /// `state` is the queue's and locked, and the IRP is on its list.
    unsafe fn unlink(state: &mut State, irp: *mut nt::IRP) {
        // SAFETY: the caller holds the lock, and the IRP is on the list.
        unsafe { RemoveEntryList(irp::list_entry(irp)) };
        // SAFETY: as above: it is on its file's list, or linked to itself.
        unsafe { RemoveEntryList(irp::second_list_entry(irp)) };
        state.length -= 1;
    }

    /// Takes an IRP off the list and away from its Cancel routine.
    ///
    /// # Safety
    /// `state` is the queue's and locked, and the IRP is on its list.
    unsafe fn take(state: &mut State, irp: *mut nt::IRP) -> Found {
        // SAFETY: passed on to the caller.
        unsafe { Self::unlink(state, irp) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes the IRP.
        if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            Found::Owned(irp)
        } else {
            // IoCancelIrp took the routine before. It has been called, or is about to be: the IRP is the
            // routine's, which finds it linked to itself.
            Found::Lost
        }
    }

    /// Removes the IRP that has waited longest; `None` if there is none.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoCsqRemoveNextIrp")]
    pub fn remove_first<L: AtMostDispatch>(&self, irql: &mut L) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        loop {
            match self.state.with(irql, |state, _| self.take_first(state)) {
                // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP, so it is owned here.
                Found::Owned(irp) => return Some(unsafe { PendedIrp::from_raw(irp) }),
                Found::Lost => {}
                Found::Nothing => return None,
            }
        }
    }

    fn take_first(&self, state: &mut State) -> Found {
        let head = self.head.get();
        // SAFETY: `state` is locked.
        let first = unsafe { (*head).Flink };
        if first == head {
            return Found::Nothing;
        }
        // SAFETY: every entry of the list but its head is an IRP's.
        let irp = unsafe { irp::from_list_entry(first) };
        // SAFETY: `state` is locked, and the IRP is linked.
        unsafe { Self::take(state, irp) }
    }

    /// Removes the first IRP, of those that have waited longest, that a closure says yes to; `None` if
    /// there is none.
    ///
    /// The closure runs under the queue's spin lock, once for each IRP before the one it chooses; it has
    /// no token, so it can take no lock and complete nothing. A queue on which many IRPs wait is no place for it, since a
    /// spin lock is to be held for 25 microseconds at the most.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn remove_matching<L: AtMostDispatch>(
        &self,
        irql: &mut L,
        mut matches: impl FnMut(&IrpView<C::Record>) -> bool,
    ) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        let irp = self
            .state
            .with(irql, |state, _| self.take_matching(state, &mut matches))?;
        // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP, so it is owned here.
        Some(unsafe { PendedIrp::from_raw(irp) })
    }

    fn take_matching(
        &self,
        state: &mut State,
        matches: &mut impl FnMut(&IrpView<C::Record>) -> bool,
    ) -> Option<*mut nt::IRP> {
        let head = self.head.get();
        // SAFETY: `state` is locked.
        let mut entry = unsafe { (*head).Flink };
        while entry != head {
            // SAFETY: every entry of the list but its head is an IRP's.
            let irp = unsafe { irp::from_list_entry(entry) };
            // SAFETY: the entry is linked, and `state` is locked. Read before it is unlinked.
            entry = unsafe { (*entry).Flink };
            // SAFETY: an IRP on the list is completed by nobody as long as `state` is locked: its Cancel
            // routine, if it is running, needs the lock first.
            if !matches(unsafe { IrpView::new(&irp) }) {
                continue;
            }
            // SAFETY: `state` is locked, and the IRP is linked.
            if let Found::Owned(irp) = unsafe { Self::take(state, irp) } {
                return Some(irp);
            }
        }
        None
    }

    /// Ends every IRP that is inserted from now on with a status, and leaves those on the queue there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn refuse<L: AtMostDispatch>(&self, status: impl Into<NtStatus>, irql: &mut L)
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        let status = status.into();
        self.state
            .with(irql, |state, _| state.refusing = Some(status));
    }

    /// Takes IRPs again after [`IrpQueue::refuse`] or [`IrpQueue::purge`], unless the device is gone.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn accept<L: AtMostDispatch>(&self, irql: &mut L)
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state.with(irql, |state, _| state.refusing = None);
    }

    /// Refuses further IRPs, and ends those on the queue with the same status.
    ///
    /// When it returns, no IRP is on the queue and none can come to it: one that another thread is just
    /// inserting is either found here or refused there. A device that is removed does so by itself.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        self.refuse(status, irql);
        self.end_each(status, irql, |state| self.take_first(state));
    }

    /// How many IRPs are queued now.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn length<L: AtMostDispatch>(&self, irql: &mut L) -> usize
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state.with(irql, |state, _| state.length)
    }

    /// Ends one IRP after the other that `take` finds, each with the lock taken anew.
    fn end_each<L: NoSpinLockHeld>(
        &self,
        status: NtStatus,
        irql: &mut L,
        mut take: impl FnMut(&mut State) -> Found,
    ) {
        loop {
            match self.state.with(irql, |state, _| take(state)) {
                // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP.
                Found::Owned(irp) => unsafe { Self::end(self, irp, status, irql) },
                Found::Lost => {}
                Found::Nothing => return,
            }
        }
    }

    /// Tells the driver, then completes an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP, on no list and without a Cancel routine, and gives it up. `queue` is the one that the IRP was
    /// inserted into; it may be gone when this returns, with the device that the IRP has kept.
    #[cold]
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

impl<C: QueueCallbacks> DeviceQueues for IrpQueue<C> {
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel) {
        // SAFETY: the lock is held. From now on nothing is queued for the file.
        self.state
            .with(irql, |_, _| unsafe { file.set_cleaned_up() });
        self.end_each(NtStatus::CANCELLED, irql, |state| {
            // SAFETY: the lock is held.
            let Some(first) = (unsafe { file.first() }) else {
                return Found::Nothing;
            };
            // SAFETY: the file's list for this queue has entries of IRPs on the queue alone.
            let irp = unsafe { irp::from_second_list_entry(first) };
            // SAFETY: as above.
            unsafe { Self::take(state, irp) }
        });
    }

    fn end_all(&self, status: NtStatus, irql: &mut PassiveLevel) {
        self.purge(status, irql);
    }
}

/// Links an entry in at one end of a list.
///
/// # Safety
/// As for [`InsertTailList`].
unsafe fn insert(head: *mut nt::LIST_ENTRY, entry: *mut nt::LIST_ENTRY, end: End) {
    match end {
        // SAFETY: passed on to the caller.
        End::Tail => unsafe { InsertTailList(head, entry) },
        // SAFETY: as above.
        End::Head => unsafe { InsertHeadList(head, entry) },
    }
}

/// The initialiser of the list head, in its place.
fn empty_list() -> impl PinInit<UnsafeCell<nt::LIST_ENTRY>> {
    let initialise = |slot: *mut UnsafeCell<nt::LIST_ENTRY>| {
        // SAFETY: the slot is valid for writes, and the list head stays there.
        unsafe { InitializeListHead(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

/// The Cancel routine of every queued IRP.
///
/// `IoCancelIrp` has taken the routine's address out of the IRP before it calls it, so this runs once for
/// an IRP, and whoever removes the IRP from the list after that leaves its completion to this.
///
/// # Safety
/// Called by `IoCancelIrp`, with the cancel spin lock held, for an IRP that [`IrpQueue::link`] set it on.
unsafe extern "C" fn cancel_routine<C: QueueCallbacks>(
    _device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) {
    // SAFETY: this is the IRP's Cancel routine, which holds the lock.
    let mut irql = unsafe { leave_to_caller(irp) };
    // SAFETY: the IRP is this routine's, and `link` set the word before it set the routine.
    let queue = unsafe { irp::driver_context::<2>(irp) }.cast::<IrpQueue<C>>();
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let state = unsafe { &(*queue).state };
    state.with(&mut irql, |state, _| {
        let entry = irp::list_entry(irp);
        // SAFETY: the entry is on the queue's list or linked to itself, and `state` is locked.
        if !unsafe { IsListEmpty(entry) } {
            // SAFETY: as above: the IRP is on the list.
            unsafe { IrpQueue::<C>::unlink(state, irp) };
        }
    });
    // SAFETY: the IRP is on no list, and IoCancelIrp took its Cancel routine to call it here.
    unsafe { IrpQueue::end(queue, irp, NtStatus::CANCELLED, &mut irql) };
}
