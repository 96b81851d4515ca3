//! A queue of cancelable IRPs under a spin lock of its own.

mod locked;

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::MaybeUninit,
    ptr::NonNull,
};

use nt::{
    irp::{self, IoMarkIrpPending},
    list::InitializeListHead,
};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use self::locked::{End, Found, State};
use crate::{
    Error, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks,
    Shared, SpinLock,
    io::{device::DeviceQueues, file::Queued, key_index::KeyIndex, refusal::Refusal},
    ke::{
        irql::{AtMostDispatch, NoSpinLockHeld},
        lock_order::{LockAfter, LockClass, OBJECT_LOCK_RANK, Unlocked},
    },
};

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
/// [`IrpQueue::remove_first`], [`IrpQueue::remove_by_key`] and [`IrpQueue::remove_matching`] give an IRP back that nobody
/// can cancel any more. When a queued IRP is cancelled, its handle closed or its device removed, the queue completes it and
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
///   file, or of those without a file, and, if IRPs are found by key, in the index with the node that argument 4 points to. Such a
///   node is the IRP's own from before it is inserted until it is given back or completed.
/// * What else is on the list is the cursor of a call of [`IrpQueue::remove_matching`]: zeroes, so word 2 names no queue.
/// * The list, those of the files for this queue, and the index are read and changed with `state` locked; `state.length`
///   is the number of IRPs on the list.
/// * The queue outlives every IRP that was inserted: each holds the device's remove lock until it is completed, and the
///   device owns the queue until nobody holds that any more.
#[pin_data]
#[repr(C)]
pub struct IrpQueue<C: QueueCallbacks> {
    #[pin]
    state: SpinLock<State, IrpQueueLock>,
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
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
    #[pin]
    _pinned: PhantomPinned,
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
                state <- SpinLock::new(State { length: 0, refusal: Refusal::NONE, by_key: KeyIndex::new() }),
                head <- empty_list(),
                device,
                index,
                of_no_file <- Queued::new(),
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
    /// already, if its handle is closed already, or if the queue was told to [refuse](IrpQueue::refuse) it; with
    /// `STATUS_INVALID_DEVICE_REQUEST`, if it was sent to another device than the queue's; and, on a queue that finds its
    /// IRPs by key, with `STATUS_INSUFFICIENT_RESOURCES`, if there is no memory.
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
        // SAFETY: passed on to the caller.
        let over = match unsafe { self.prepare(irp) } {
            // SAFETY: passed on to the caller; `state` is locked.
            Ok(()) => self
                .state
                .with(irql, |state, _| unsafe { self.link(state, irp, end) }),
            Err(error) => Some(error.into()),
        };
        if let Some(status) = over {
            // SAFETY: `link` left the IRP on no list and without a Cancel routine, so it is owned here.
            unsafe { Self::end(self, irp, status, irql) };
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
        self.remove(irql, |state| self.take_first(state))
    }

    /// Removes the IRP of a key that has waited longest; `None` if there is none.
    ///
    /// How long it takes does not depend on how many others wait, but for the steps down a balanced tree. The key is the one
    /// that [`QueueCallbacks::lookup_key`] gave; on a queue whose [`LOOKUP`](QueueCallbacks::LOOKUP) is not set, nothing
    /// is found.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoCsqRemoveIrp")]
    pub fn remove_by_key<L: AtMostDispatch>(
        &self,
        key: u64,
        irql: &mut L,
    ) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.remove(irql, |state| match state.by_key.first(key) {
            // SAFETY: what is in the index is on the list.
            Some(irp) => unsafe { Self::take(state, irp) },
            None => Found::Nothing,
        })
    }

    /// Removes the first IRP, of those that have waited longest, that a closure says yes to; `None` if
    /// there is none.
    ///
    /// The closure runs under the queue's spin lock, once for each IRP before the one it chooses; it has
    /// no token, so it can take no lock and complete nothing. The lock is released after every 64 IRPs, so it is not held
    /// longer the more IRPs wait; an IRP that another thread puts at the head meanwhile is not looked at. To find an IRP by
    /// a key, [`IrpQueue::remove_by_key`] need not look at the others.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoCsqRemoveNextIrp")]
    pub fn remove_matching<L: AtMostDispatch>(
        &self,
        irql: &mut L,
        mut matches: impl FnMut(&IrpView<C::Record>) -> bool,
    ) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        // Stands on the list, in an entry like an IRP's, where the walk goes on when the lock is taken again.
        let mut cursor = MaybeUninit::zeroed();
        let cursor = cursor.as_mut_ptr();
        let mut is_linked = false;
        self.remove(irql, |state| {
            // SAFETY: `state` is locked. The cursor stays where it is until this function returns, which it does only
            // after a call that left the cursor on no list.
            unsafe { self.walk(state, cursor, &mut is_linked, &mut matches) }
        })
    }

    /// Removes the IRP that `take` finds, which is called with the lock taken anew until it has found one or nothing.
    fn remove<L: AtMostDispatch>(
        &self,
        irql: &mut L,
        mut take: impl FnMut(&mut State) -> Found,
    ) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        let irp = match self.state.with(irql, |state, _| take(state)) {
            Found::Owned(irp) => irp,
            Found::Lost | Found::NotYet => self.find(irql, &mut take)?.as_ptr(),
            Found::Nothing => return None,
        };
        // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP, so it is owned here.
        unsafe { Self::free_node(irp) };
        // SAFETY: as above.
        Some(unsafe { PendedIrp::from_raw(irp) })
    }

    /// Calls `take` with the lock taken anew until it has found an IRP or nothing.
    #[cold]
    fn find<L: AtMostDispatch>(
        &self,
        irql: &mut L,
        take: &mut dyn FnMut(&mut State) -> Found,
    ) -> Option<NonNull<nt::IRP>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        loop {
            match self.state.with(irql, |state, _| take(state)) {
                Found::Owned(irp) => return NonNull::new(irp),
                Found::Lost | Found::NotYet => {}
                Found::Nothing => return None,
            }
        }
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
            .with(irql, |state, _| state.refusal.set(Some(status)));
    }

    /// Takes IRPs again after [`IrpQueue::refuse`] or [`IrpQueue::purge`], unless the device is gone.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn accept<L: AtMostDispatch>(&self, irql: &mut L)
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state.with(irql, |state, _| state.refusal.set(None));
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
        while let Some(irp) = self.find(irql, &mut take) {
            // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP.
            unsafe { Self::end(self, irp.as_ptr(), status, irql) };
        }
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

    fn end_all(&self, irql: &mut PassiveLevel) {
        self.state
            .with(irql, |state, _| state.refusal.set_device_gone());
        self.end_each(NtStatus::DELETE_PENDING, irql, |state| {
            self.take_first(state)
        });
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
