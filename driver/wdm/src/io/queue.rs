//! A queue of cancelable IRPs with its own spin lock.

mod filters;
mod locked;

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::MaybeUninit,
    ptr::{NonNull, null_mut},
};

use nt::{
    irp::{self, IoMarkIrpPending},
    list::InitializeListHead,
};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use self::{
    filters::FilterQueue,
    locked::{End, Found, Linked, State},
};
use crate::{
    Error, Handled, Irp, IrpView, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks, QueueOwner,
    Shared, SpinLock, SpinLockGuard,
    io::{device::Internal, file::Queued, key_index::KeyNode, owned_queue::DeviceQueues},
    ke::{
        irql::{AtMostDispatch, NoSpinLockHeld},
        lock_order::{LockAfter, LockClass, OBJECT_LOCK_RANK, Unlocked},
    },
};

/// The class of the spin lock of an [`IrpQueue`].
///
/// By default it is acquired while no other lock is held. A driver can order it after its own classes, with
/// [`lock_order!(Mine => existing IrpQueueLock)`](crate::lock_order!).
pub struct IrpQueueLock;

// SAFETY: the class comes after `Unlocked`, whose rank is 0; `lock_order!` compares it with others.
unsafe impl LockClass for IrpQueueLock {
    const RANK: u32 = OBJECT_LOCK_RANK;
}

// SAFETY: the rank of `Unlocked` is 0.
unsafe impl LockAfter<Unlocked> for IrpQueueLock {}

/// A first-in, first-out queue of cancelable IRPs, which it owns (`IO_CSQ`).
///
/// [`IrpQueue::insert`] pends a dispatch routine's IRP and makes it cancelable. [`IrpQueue::remove_first`],
/// [`IrpQueue::remove_by_key`] and [`IrpQueue::remove_matching`] return an IRP that is no longer cancelable. If
/// a queued IRP is cancelled, its handle is closed or its device is removed, the queue completes the IRP, after a
/// call of [`QueueCallbacks::before_completion`].
///
/// A queue belongs to its device: it is made in [`Device::add`](crate::Device::add) or [`Filter::add`](crate::Filter::add), and
/// lives until the device has been removed and the last owner is dropped. A filter [forwards](PendedIrp::forward) the
/// requests that it removes.
///
/// The queue has its own spin lock. Its Cancel routine first releases the system's cancel spin lock.
///
/// WDK: [Implementing Cancelable IRP Queues](https://learn.microsoft.com/windows-hardware/drivers/kernel/cancel-safe-irp-queues),
/// [Synchronizing IRP Cancellation](https://learn.microsoft.com/windows-hardware/drivers/kernel/synchronizing-irp-cancellation).
///
/// # Examples
///
/// ```
/// use wdm::{Error, Handled, Irp, IrpQueue, NewDevice, NtStatus, PassiveLevel, QueueCallbacks, Shared};
///
/// struct Quiet;
///
/// impl QueueCallbacks for Quiet {
///     type Record = ();
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
/// # What goes wrong in C
///
/// A driver reads `Irp->Cancel` before it sets the Cancel routine; does not clear the routine if `Irp->Cancel` is
/// set; completes an IRP whose Cancel routine already runs; marks an IRP pending after another thread could have
/// completed it; keeps a request forever that arrives while its handle is being closed; or frees the queue before a
/// running Cancel routine accesses it. Here the order of steps is fixed, each IRP keeps the device, and the device
/// keeps its queues.
// # Invariants
//
// * An IRP on the list was sent to `device` and inserted by [`IrpQueue::link`]; word 2 of its driver context
//   points to this queue, and its Cancel routine is [`cancel_routine`] or was taken by `IoCancelIrp`. It is on the
//   list of its file, or on the list of IRPs without a file, on which are all IRPs of a filter. If IRPs are found by key, it is in the index with the
//   node that argument 4 points to.
// * Any other entry on the list is the cursor of a call of [`IrpQueue::remove_matching`]: it is zeroed, so word 2
//   is NULL.
// * The list, the files' lists for this queue and the index are accessed with `state` locked; `state.length` is
//   the number of IRPs on the list.
// * The queue outlives every IRP that was inserted: each IRP holds the device's remove lock until it is completed,
//   and the device owns the queue until the lock has no holds.
#[doc(alias = "InsertHeadList")]
#[doc(alias = "InsertTailList")]
#[doc(alias = "IsListEmpty")]
#[doc(alias = "RemoveEntryList")]
#[doc(alias = "DRIVER_CANCEL")]
#[doc(alias = "IO_CSQ")]
#[pin_data]
#[repr(C)]
pub struct IrpQueue<C: QueueCallbacks> {
    #[pin]
    state: SpinLock<State, IrpQueueLock>,
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
    /// The device that the queue belongs to, for comparison only.
    device: *mut nt::DEVICE_OBJECT,
    /// The index of the queue among the device's queues; `None` for a filter's queue, which has no files.
    index: Option<usize>,
    /// The IRPs that were sent without a file object.
    #[pin]
    without_file: Queued,
    #[pin]
    callbacks: C,
    // Invariant: the type of the IRPs' records is that of exactly these callbacks.
    _records: PhantomData<fn(C) -> C>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the list is accessed only with `state` locked, its IRPs are not tied to a thread, and the callbacks,
// which any thread may call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for IrpQueue<C> {}

// SAFETY: no part of the queue is tied to a thread; the callbacks, which are dropped with it, are `Send`.
unsafe impl<C: QueueCallbacks> Send for IrpQueue<C> {}

impl<C: QueueCallbacks> IrpQueue<C> {
    /// Makes an empty queue of a new device, with a value or an in-place initialiser of the callbacks
    /// (`IoCsqInitialize`).
    ///
    /// WDK: [IoCsqInitialize](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinitialize).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "IoCsqInitialize")]
    pub fn new<O: QueueOwner>(
        callbacks: impl PinInit<C>,
        device: &mut O,
        irql: &mut PassiveLevel,
    ) -> Result<Shared<Self>, Error> {
        let init = |device, index| {
            try_pin_init!(Self {
                state <- SpinLock::new(State::new()),
                head <- empty_list(),
                device,
                index: O::OWNS_FILES.then_some(index),
                without_file <- Queued::new(),
                callbacks <- callbacks,
                _records: PhantomData,
                _pinned: PhantomPinned,
            }? Error)
        };
        let operations: fn(&Self) -> &(dyn DeviceQueues + 'static) = if O::OWNS_FILES {
            |queue| queue
        } else {
            |queue| FilterQueue::of(queue)
        };
        device
            .device(Internal::new())
            .add_queue(irql, init, operations)
    }

    /// Returns the callbacks that were passed to [`IrpQueue::new`].
    ///
    /// # IRQL
    /// Any.
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP, inserts it at the tail of the queue and makes it cancelable (`IoMarkIrpPending`,
    /// `IoSetCancelRoutine`, `IoCsqInsertIrp`).
    ///
    /// The dispatch routine returns `STATUS_PENDING` in every case. The queue completes the IRP immediately:
    ///
    /// * with `STATUS_CANCELLED` if the IRP is already cancelled or its handle is already closed;
    /// * with the status of [`refuse`](IrpQueue::refuse) or [`purge`](IrpQueue::purge) if the queue rejects IRPs;
    /// * with `STATUS_INVALID_DEVICE_REQUEST` if the IRP was sent to another device;
    /// * with `STATUS_INSUFFICIENT_RESOURCES` if there is no memory, on a queue that finds its IRPs by key.
    ///
    /// WDK: [IoSetCancelRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcancelroutine).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoMarkIrpPending")]
    #[doc(alias = "IoSetCancelRoutine")]
    #[doc(alias = "IoCsqInsertIrp")]
    pub fn insert<'irp, L: NoSpinLockHeld>(
        &self,
        irp: Irp<'irp, C::Record>,
        irql: &mut L,
    ) -> Handled<'irp> {
        let (irp, pending) = irp.into_pending();
        // Once the IRP is linked another thread may complete it, so it is marked pending before that.
        // SAFETY: the caller owned the IRP, and no other thread can complete it yet.
        unsafe { IoMarkIrpPending(irp) };
        // SAFETY: as above; the queue owns it now.
        unsafe { self.link_or_end(irp, End::Tail, irql) };
        pending
    }

    /// Inserts a pended IRP, removed from this or another queue of the device, at the tail of the queue and makes
    /// it cancelable again.
    ///
    /// The queue completes it immediately in the same cases as [`IrpQueue::insert`]; for instance, if it was cancelled
    /// while it was on no queue.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{IrpQueue, PassiveLevel, QueueCallbacks};
    ///
    /// /// Moves the requests that have waited for a setting to those that are being served.
    /// fn resume<C: QueueCallbacks>(waiting: &IrpQueue<C>, served: &IrpQueue<C>, irql: &mut PassiveLevel) {
    ///     while let Some(irp) = waiting.remove_first(irql) {
    ///         served.insert_pended(irp, irql);
    ///     }
    /// }
    /// ```
    pub fn insert_pended<L: NoSpinLockHeld>(&self, irp: PendedIrp<C::Record>, irql: &mut L) {
        // SAFETY: the caller owned the IRP, and the queue owns it now.
        unsafe { self.link_or_end(irp.into_raw(), End::Tail, irql) };
    }

    /// Like [`IrpQueue::insert_pended`], but inserts the IRP at the head of the queue (`IoCsqInsertIrpEx`).
    ///
    /// WDK: [IoCsqInsertIrpEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinsertirpex).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{Error, IrpQueue, NtStatus, PendedIrp, QueueCallbacks, irql::NoSpinLockHeld};
    ///
    /// /// Serves the first request, which waits again, as the first, if the device is busy.
    /// fn serve<C: QueueCallbacks>(
    ///     queue: &IrpQueue<C>,
    ///     start: impl FnOnce(&PendedIrp<C::Record>) -> Result<(), Error>,
    ///     irql: &mut impl NoSpinLockHeld,
    /// ) {
    ///     let Some(irp) = queue.remove_first(irql) else {
    ///         return;
    ///     };
    ///     match start(&irp) {
    ///         Ok(()) => irp.complete(NtStatus::SUCCESS, irql),
    ///         Err(Error::DEVICE_BUSY) => queue.put_back(irp, irql),
    ///         Err(error) => irp.complete(error, irql),
    ///     }
    /// }
    /// ```
    #[doc(alias = "IoCsqInsertIrpEx")]
    pub fn put_back<L: NoSpinLockHeld>(&self, irp: PendedIrp<C::Record>, irql: &mut L) {
        // SAFETY: the caller owned the IRP, and the queue owns it now.
        unsafe { self.link_or_end(irp.into_raw(), End::Head, irql) };
    }

    /// Links an IRP into the queue and makes it cancelable, or completes it if that is not allowed.
    ///
    /// # Safety
    /// The caller owns the IRP, which is pended and on no list, and gives it up to the queue.
    unsafe fn link_or_end<L: NoSpinLockHeld>(&self, irp: *mut nt::IRP, end: End, irql: &mut L) {
        // SAFETY: guaranteed by the caller.
        let prepared = unsafe { self.prepare(irp) };
        let status = loop {
            let linked = match prepared {
                Ok(key) => self.state.with(irql, |state, _| {
                    // SAFETY: guaranteed by the caller; `state` is locked.
                    unsafe { self.link(state, irp, key, end) }
                }),
                Err(error) => Linked::Over(error.into()),
            };
            match linked {
                Linked::Queued => return,
                Linked::Over(status) => break status,
                Linked::NoNode => match KeyNode::allocate() {
                    Ok(node) => self
                        .state
                        .with(irql, |state, _| state.by_key.add_spare(node)),
                    Err(error) => break error.into(),
                },
            }
        };
        // SAFETY: `link` left the IRP on no list and without a Cancel routine, so this thread owns it.
        unsafe { Self::end(self, irp, status, irql) };
    }

    /// Removes the first IRP of the queue (`IoCsqRemoveNextIrp`). Returns `None` if there is none.
    ///
    /// WDK: [IoCsqRemoveNextIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqremovenextirp).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoCsqRemoveNextIrp")]
    pub fn remove_first<L: AtMostDispatch>(&self, irql: &mut L) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        // As `remove`, but with another closure after the first attempt.
        let mut state = self.state.lock(irql);
        let irp = match self.take_first(&mut state) {
            Found::Owned(irp) => irp,
            Found::Nothing => null_mut(),
            Found::Lost | Found::NotYet => {
                return Self::owned(find(state, |state| self.take_after_cursors(state)));
            }
        };
        drop(state);
        Self::owned(irp)
    }

    /// Removes the first IRP that was inserted with a key (`IoCsqRemoveNextIrp`). Returns `None` if there is none.
    ///
    /// The time grows with the logarithm of the number of queued IRPs. The key is the one that
    /// [`QueueCallbacks::lookup_key`] returned. If [`LOOKUP`](QueueCallbacks::LOOKUP) is not set, nothing is found.
    ///
    /// WDK: [IoCsqRemoveNextIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqremovenextirp).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoCsqRemoveNextIrp")]
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
            // SAFETY: every IRP in the index is on the list.
            Some(irp) => unsafe { Self::take(state, irp) },
            None => Found::Nothing,
        })
    }

    /// Removes the first IRP for which a closure returns `true` (`IoCsqRemoveNextIrp`). Returns `None` if there is
    /// none.
    ///
    /// The closure runs under the queue's spin lock, once for each IRP up to the one that it chooses. It has no
    /// token, so it cannot acquire a lock or complete an IRP. The lock is released after every 64 IRPs, so the hold
    /// time does not grow with the queue. An IRP that another thread inserts at the head during the call may not be
    /// examined, and one that it removes and puts back may be examined twice. To find an IRP by key, [`IrpQueue::remove_by_key`] is faster.
    ///
    /// It cannot be called under a lock of the driver's own, which would be held for the whole walk: the senders determine the
    /// length of the queue. In that case use [`IrpQueue::remove_first`] or [`IrpQueue::remove_by_key`].
    ///
    /// WDK: [IoCsqRemoveNextIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqremovenextirp).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCsqRemoveNextIrp")]
    pub fn remove_matching<L: NoSpinLockHeld>(
        &self,
        irql: &mut L,
        mut matches: impl FnMut(&IrpView<C::Record>) -> bool,
    ) -> Option<PendedIrp<C::Record>> {
        // A list entry like an IRP's that marks where the walk continues when the lock is acquired again.
        let mut cursor = MaybeUninit::zeroed();
        let cursor = cursor.as_mut_ptr();
        let mut is_linked = false;
        let mut step = |state: &mut State, irp| {
            // SAFETY: no thread completes an IRP on the list while `state` is locked: its Cancel routine, if it is
            // running, must first acquire the lock.
            if !matches(unsafe { IrpView::new(&irp) }) {
                return Found::NotYet;
            }
            // SAFETY: `state` is locked, and the IRP is linked.
            unsafe { Self::take(state, irp) }
        };
        self.remove(irql, |state| {
            // SAFETY: `state` is locked. The cursor does not move before this function returns, which happens only
            // after a call that left the cursor on no list.
            unsafe { self.walk(state, cursor, &mut is_linked, &mut step) }
        })
    }

    /// Removes the IRP that `take` finds. `take` is called repeatedly, each time under a new acquisition of the
    /// lock, until it has found an IRP or nothing.
    fn remove<L: AtMostDispatch>(
        &self,
        irql: &mut L,
        mut take: impl FnMut(&mut State) -> Found,
    ) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        let mut state = self.state.lock(irql);
        let irp = match take(&mut state) {
            Found::Owned(irp) => irp,
            Found::Nothing => null_mut(),
            Found::Lost | Found::NotYet => return Self::owned(find(state, take)),
        };
        drop(state);
        Self::owned(irp)
    }

    /// Makes the owner of the IRP that a call of `take` has found; `None` if the pointer is NULL.
    fn owned(found: *mut nt::IRP) -> Option<PendedIrp<C::Record>> {
        let found = NonNull::new(found)?;
        // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP, so this thread owns it.
        Some(unsafe { PendedIrp::from_non_null(found) })
    }

    /// Rejects further IRPs: each is completed with `status` when it is inserted. IRPs on the queue stay there.
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

    /// Accepts IRPs again after [`IrpQueue::refuse`] or [`IrpQueue::purge`], unless the device was removed.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn accept<L: AtMostDispatch>(&self, irql: &mut L)
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state.with(irql, |state, _| state.refusal.set(None));
    }

    /// Rejects further IRPs, and completes those on the queue with the same status.
    ///
    /// When it returns, the queue is empty and stays so: an IRP that another thread is inserting is either
    /// completed by this call or rejected. The removal of the device purges its queues.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: impl Into<NtStatus>, irql: &mut L) {
        let status = status.into();
        self.refuse(status, irql);
        self.end_each(status, irql, &mut |state| self.take_after_cursors(state));
    }

    /// Returns the number of IRPs on the queue.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn length<L: AtMostDispatch>(&self, irql: &mut L) -> usize
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state.with(irql, |state, _| state.length)
    }

    /// Completes each IRP that `take` finds, one at a time, each under a new acquisition of the lock.
    fn end_each<L: NoSpinLockHeld>(
        &self,
        status: NtStatus,
        irql: &mut L,
        take: &mut dyn FnMut(&mut State) -> Found,
    ) {
        while let Some(irp) = self.remove(irql, &mut *take) {
            // SAFETY: the owner is given up; the IRP is on no list and has no Cancel routine.
            unsafe { Self::end(self, irp.into_raw(), status, irql) };
        }
    }
}

/// Calls `take` repeatedly, each time under a new acquisition of the lock, until it has found an IRP, or nothing (NULL).
#[cold]
#[inline(never)]
fn find(
    state: SpinLockGuard<'_, State, IrpQueueLock>,
    mut take: impl FnMut(&mut State) -> Found,
) -> *mut nt::IRP {
    find_with(state, &mut take)
}

/// Implements [`find`] for all closures, so that it is compiled once.
fn find_with(
    mut state: SpinLockGuard<'_, State, IrpQueueLock>,
    take: &mut dyn FnMut(&mut State) -> Found,
) -> *mut nt::IRP {
    loop {
        state.release_and_acquire();
        match take(&mut state) {
            Found::Owned(irp) => return irp,
            Found::Lost | Found::NotYet => {}
            Found::Nothing => return null_mut(),
        }
    }
}

impl<C: QueueCallbacks> DeviceQueues for IrpQueue<C> {
    fn cleanup(&self, file: &Queued, irql: &mut PassiveLevel) {
        // SAFETY: the lock is held. After this, no IRP of the file is queued.
        self.state
            .with(irql, |_, _| unsafe { file.set_cleaned_up() });
        self.end_each(NtStatus::CANCELLED, irql, &mut |state| {
            // SAFETY: the lock is held.
            let Some(first) = (unsafe { file.first() }) else {
                return Found::Nothing;
            };
            // SAFETY: the file's list for this queue contains only entries of IRPs on the queue.
            let irp = unsafe { irp::from_second_list_entry(first) };
            // SAFETY: as above.
            unsafe { Self::take(state, irp) }
        });
    }

    fn end_all(&self, irql: &mut PassiveLevel) {
        self.state
            .with(irql, |state, _| state.refusal.set_device_removed());
        self.end_each(NtStatus::DELETE_PENDING, irql, &mut |state| {
            self.take_after_cursors(state)
        });
    }
}

/// Initialises the list head in place.
fn empty_list() -> impl PinInit<UnsafeCell<nt::LIST_ENTRY>> {
    let initialise = |slot: *mut UnsafeCell<nt::LIST_ENTRY>| {
        // SAFETY: the slot is valid for writes, and the list head stays there.
        unsafe { InitializeListHead(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}
