//! A queue of cancelable IRPs under a spin lock of its own.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::{
    irp::{self, IoMarkIrpPending, IoSetCancelRoutine},
    list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList},
};
use pinned_init::{PinInit, pin_data, pin_init, pin_init_from_closure, pinned_drop};

use crate::{
    FileId, Handled, Irp, IrpView, NtStatus, PendedIrp, Record, SpinLock,
    cancel_lock::leave_to_caller,
    irp::finish,
    irql::{AtMostDispatch, CallerLevel, NoSpinLockHeld},
    lock_order,
    lock_order::LockAfter,
};

/// What a driver does when its queue completes an IRP by itself.
pub trait QueueCallbacks: Sync + 'static {
    /// What the driver keeps with each IRP: `()`, or an owner such as a [`ZoneBox`](crate::ZoneBox).
    type Record: Record;

    /// Called just before the queue completes an IRP that was cancelled, or that it had to end since it
    /// was told to ([`IrpQueue::refuse`], [`IrpQueue::purge`]).
    ///
    /// The queue holds no lock meanwhile, so the callback may take any. It need not, and cannot, complete
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
}

/// The class of the spin lock that an [`IrpQueue`] has.
pub struct IrpQueueLock;

lock_order!(Unlocked => IrpQueueLock);

/// A first-in, first-out queue that owns the IRPs on it, each of which can be cancelled there.
///
/// [`IrpQueue::insert`] takes a dispatch routine's IRP, pends it and makes it cancelable;
/// [`IrpQueue::remove_first`] and [`IrpQueue::remove_matching`] give an IRP back that nobody can cancel any
/// more. When a queued IRP is cancelled, its handle closed or the queue purged, the queue completes it and
/// tells the driver through [`QueueCallbacks`].
///
/// The queue has its own spin lock, so the system's cancel spin lock is held no longer than a Cancel
/// routine must: it is given back first of all.
///
/// # What goes wrong in C
///
/// `Irp->Cancel` is looked at before the Cancel routine is set; the routine is not taken back when the look
/// finds it; an IRP whose Cancel routine already runs is completed by the remover as well; the IRP is
/// marked pending after another thread could have completed it; the queue is freed while a Cancel
/// routine is on its way to it. Here the order is fixed, and dropping a queue waits for the last of them.
///
/// WDK: "Implementing Cancelable IRP Queues", "Queuing Canceled IRPs".
///
/// # Examples
///
/// ```
/// use pinned_init::{PinInit, pin_data, pin_init};
/// use wdm::{Handled, Irp, IrpQueue, IrpView, NtStatus, PassiveLevel, QueueCallbacks, irql::NoSpinLockHeld};
///
/// struct Quiet;
///
/// impl QueueCallbacks for Quiet {
///     type Record = ();
///
///     fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}
/// }
///
/// #[pin_data]
/// struct Waiters {
///     #[pin]
///     queue: IrpQueue<Quiet>,
/// }
///
/// impl Waiters {
///     fn new() -> impl PinInit<Self> {
///         pin_init!(Self { queue <- IrpQueue::new(Quiet) })
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
/// # fn main() {}
/// ```
///
/// # Invariants
///
/// * An IRP on the list was inserted by [`IrpQueue::insert`], its first driver-context word names this
///   queue, and its Cancel routine is [`cancel_routine`] or has been taken by `IoCancelIrp`.
/// * The list is read and changed with `state` locked, and `state.length` is its length.
/// * `in_charge` counts the IRPs on the list and those whose Cancel routine, or another path that ends
///   them, has yet to touch this queue.
#[pin_data(PinnedDrop)]
pub struct IrpQueue<C: QueueCallbacks> {
    #[pin]
    state: SpinLock<State, IrpQueueLock>,
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
    in_charge: AtomicUsize,
    #[pin]
    callbacks: C,
    #[pin]
    _pinned: PhantomPinned,
}

struct State {
    length: usize,
    /// What further IRPs are ended with, where none is taken any more.
    refusing: Option<NtStatus>,
}

// SAFETY: the list is only reached with `state` locked, its IRPs belong to no thread, and the callbacks,
// which every thread may come to call, are `Sync`.
unsafe impl<C: QueueCallbacks> Sync for IrpQueue<C> {}

// SAFETY: no part of the queue belongs to a thread; the callbacks go along, and are dropped, with it.
unsafe impl<C: QueueCallbacks + Send> Send for IrpQueue<C> {}

impl<C: QueueCallbacks> IrpQueue<C> {
    /// Initialises an empty queue, and with it the driver's part: a value, or an initialiser of one.
    ///
    /// # IRQL
    /// Any.
    pub fn new(callbacks: impl PinInit<C>) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- SpinLock::new(State { length: 0, refusing: None }),
            head <- empty_list(),
            in_charge: AtomicUsize::new(0),
            callbacks <- callbacks,
            _pinned: PhantomPinned,
        })
    }

    /// What the driver gave to [`IrpQueue::new`].
    pub const fn callbacks(&self) -> &C {
        &self.callbacks
    }

    /// Pends an IRP at the end of the queue and makes it cancelable (`IoMarkIrpPending`,
    /// `IoSetCancelRoutine`).
    ///
    /// An IRP that is cancelled already, or that the queue was told to [refuse](IrpQueue::refuse), is
    /// completed at once; the dispatch routine returns `STATUS_PENDING` all the same.
    ///
    /// WDK: "Synchronizing IRP Cancellation", "`IoSetCancelRoutine` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn insert<'irp, L: NoSpinLockHeld>(
        &self,
        irp: Irp<'irp, C::Record>,
        irql: &mut L,
    ) -> Handled<'irp> {
        let (irp, pending) = irp.into_pending();
        self.in_charge.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the IRP was owned, and is the queue's now.
        let over = self
            .state
            .with(irql, |state, _| unsafe { self.link(state, irp) });
        if let Some(status) = over {
            // SAFETY: `link` left the IRP on no list and without a Cancel routine, so it is owned here.
            unsafe { Self::end(self, irp, status, irql) };
        }
        pending
    }

    /// Links an IRP in and makes it cancelable, or says with which status it must be ended instead.
    ///
    /// # Safety
    /// The caller owns the IRP and has counted it in `in_charge`.
    unsafe fn link(&self, state: &mut State, irp: *mut nt::IRP) -> Option<NtStatus> {
        // SAFETY: the caller owns the IRP. From the moment it is linked another thread may complete it,
        // so it is marked before.
        unsafe { IoMarkIrpPending(irp) };
        if let Some(status) = state.refusing {
            return Some(status);
        }
        // SAFETY: the caller owns the IRP.
        unsafe { irp::set_driver_context(irp, 0, core::ptr::from_ref(self).cast_mut().cast()) };
        // SAFETY: `state` is locked; the entry is the driver's while it has the IRP, and on no list.
        unsafe { InsertTailList(self.head.get(), irp::list_entry(irp)) };
        state.length += 1;
        // SAFETY: the queue has the IRP. IoCancelIrp sets Irp->Cancel and then takes the routine; here
        // the routine is set and then Irp->Cancel read, each with a full barrier between. So at least
        // one of the two sees the other: either it takes the routine, or the look below finds the flag.
        unsafe { IoSetCancelRoutine(irp, Some(cancel_routine::<C>)) };
        // SAFETY: the Cancel routine, if it has been called, waits for `state` before it completes.
        let cancelled = unsafe { irp::is_cancel_requested(irp) };
        // SAFETY: as above.
        if cancelled && unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
            // Nobody will call the routine now; the IRP is this thread's again.
            // SAFETY: `state` is locked, and the IRP is linked.
            unsafe { Self::unlink(state, irp) };
            return Some(NtStatus::CANCELLED);
        }
        None
    }

    /// Takes an IRP off the list and links it to itself.
    ///
    /// # Safety
    /// `state` is the queue's and locked, and the IRP is on its list.
    unsafe fn unlink(state: &mut State, irp: *mut nt::IRP) {
        // SAFETY: the caller holds the lock, and the IRP is on the list.
        unsafe { RemoveEntryList(irp::list_entry(irp)) };
        state.length -= 1;
    }

    /// Removes the IRP that has waited longest; `None` if there is none.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn remove_first<L: AtMostDispatch>(&self, irql: &mut L) -> Option<PendedIrp<C::Record>>
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.remove_matching(irql, |_| true)
    }

    /// Removes the first IRP, of those that have waited longest, that a closure says yes to; `None` if
    /// there is none.
    ///
    /// The closure runs under the queue's spin lock, once for each IRP before the one it chooses; it has
    /// no token, so it can take no lock and complete nothing.
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
            .with(irql, |state, _| self.take(state, &mut matches))?;
        self.in_charge.fetch_sub(1, Ordering::Release);
        // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP, so it is owned here.
        Some(unsafe { PendedIrp::from_raw(irp) })
    }

    /// Unlinks the first IRP that matches and cannot be cancelled any more.
    fn take(
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
            unsafe { Self::unlink(state, irp) };
            // SAFETY: as for the view above.
            if unsafe { IoSetCancelRoutine(irp, None) }.is_some() {
                return Some(irp);
            }
            // IoCancelIrp took the routine before. It has been called, or is about to be: the IRP is the
            // routine's, which finds it linked to itself. On to the next.
        }
        None
    }

    /// Cancels every queued IRP that came through an open file: what `IRP_MJ_CLEANUP` asks for.
    ///
    /// WDK: "`IRP_MJ_CLEANUP`", "Implementing Cancelable IRP Queues".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn cleanup<L: NoSpinLockHeld>(&self, file: FileId, irql: &mut L) {
        self.end_matching(NtStatus::CANCELLED, irql, |irp| irp.file() == file);
    }

    /// Ends every IRP that is inserted from now on with a status, and leaves those on the queue there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn refuse<L: AtMostDispatch>(&self, status: NtStatus, irql: &mut L)
    where
        IrpQueueLock: LockAfter<L::Held>,
    {
        self.state
            .with(irql, |state, _| state.refusing = Some(status));
    }

    /// Takes IRPs again after [`IrpQueue::refuse`] or [`IrpQueue::purge`].
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
    /// inserting is either found here or refused there.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn purge<L: NoSpinLockHeld>(&self, status: NtStatus, irql: &mut L) {
        self.refuse(status, irql);
        self.end_matching(status, irql, |_| true);
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

    fn end_matching<L: NoSpinLockHeld>(
        &self,
        status: NtStatus,
        irql: &mut L,
        mut matches: impl FnMut(&IrpView<C::Record>) -> bool,
    ) {
        while let Some(irp) = self
            .state
            .with(irql, |state, _| self.take(state, &mut matches))
        {
            // SAFETY: `take` won the exchange of the Cancel routine and unlinked the IRP.
            unsafe { Self::end(self, irp, status, irql) };
        }
    }

    /// Tells the driver, then completes an IRP that the queue is still in charge of.
    ///
    /// # Safety
    /// The caller owns the IRP, on no list and without a Cancel routine. `queue` is alive; it may be
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

#[pinned_drop]
impl<C: QueueCallbacks> PinnedDrop for IrpQueue<C> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: a queue is a part of a device, or of another value that the driver drops, and no code of
        // a driver runs above DISPATCH_LEVEL with this crate. A spin lock's value must not be dropped
        // under another lock, which is the one rule here that no type states.
        let mut irql = unsafe { CallerLevel::assume() };
        self.purge(NtStatus::CANCELLED, &mut irql);
        // What is left are IRPs whose Cancel routine was already on its way; each touches the queue once
        // more, briefly, and then counts itself off. Acquire pairs with their Release.
        while self.in_charge.load(Ordering::Acquire) != 0 {
            nt::interlocked::YieldProcessor();
        }
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
/// an IRP, and whoever removes the IRP from the list meanwhile leaves its completion to this.
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
    let queue = unsafe { irp::driver_context(irp, 0) }.cast::<IrpQueue<C>>();
    // SAFETY: the queue counts this IRP in `in_charge` until `end`, and is not gone before.
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
