//! Device queues: who finds the device idle starts it, everybody else waits in line.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::offset_of,
    ops::Deref,
    pin::Pin,
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering},
};

use pinned_init::{PinInit, pin_data, pin_init, pin_init_from_closure, pinned_drop};

use crate::irql::{AtMostDispatch, CallerLevel, Dispatch, raise_to_dispatch};

/// The proof that a device queue is busy: who has it serves a request, and asks for the next when done.
///
/// It is that of one queue, and belongs to no other. Whoever drops it leaves the queue busy for good.
#[must_use = "the queue stays busy until it is asked for the next request"]
pub struct Busy(pub(crate) ());

/// What became of a request that was inserted.
#[must_use = "a request that is to be started is not queued"]
pub enum Insert {
    /// It is queued, behind the one that is served.
    Queued,
    /// It is not queued: the queue was not busy, and is now. The caller starts it.
    StartNow(Busy),
}

/// What came off a queue.
#[must_use = "the queue stays busy until it is asked for the next request"]
pub enum Remove<E> {
    /// The next request, which the caller starts.
    Next(E, Busy),
    /// There is none, and the queue is not busy any more.
    NotBusy,
}

/// Says that a node cannot be inserted: it is on a queue, or has been on another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInUse;

/// A value that can wait in a [`DeviceQueue`].
#[pin_data]
pub struct DeviceQueueNode<T> {
    #[pin]
    entry: UnsafeCell<nt::KDEVICE_QUEUE_ENTRY>,
    /// The queue that the node is inserted into, always the same one; NULL before the first time.
    home: AtomicPtr<nt::KDEVICE_QUEUE>,
    queued: AtomicBool,
    value: T,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the entry is only touched by the queue's routines, under the queue's own lock; see the invariants of
// `DeviceQueue`. The value is only shared.
unsafe impl<T: Sync> Sync for DeviceQueueNode<T> {}

impl<T> DeviceQueueNode<T> {
    /// Makes a node that is on no queue.
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            entry: UnsafeCell::new(nt::KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] }),
            home: AtomicPtr::new(null_mut()),
            queued: AtomicBool::new(false),
            value,
            _pinned: PhantomPinned,
        })
    }
}

impl<T> Deref for DeviceQueueNode<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A device queue of nodes that are borrowed for `'n` (`KDEVICE_QUEUE`).
///
/// A device that serves one request at a time is idle or busy. The first request that comes is not queued
/// but started; while it is served, others wait; and whoever is done with one removes the next, or leaves
/// the device idle. For IRPs there is [`StartIoQueue`](crate::StartIoQueue).
///
/// # What goes wrong in C
///
/// The return value of the insertion is not looked at, and the request is neither queued nor started; a
/// request is removed from a queue that is not busy; the routines are called at `PASSIVE_LEVEL`, where most of
/// them seem to work; an entry is queued twice; a Cancel routine removes the head instead of its own entry.
///
/// WDK: "Introduction to Device Queue Objects".
///
/// # Examples
///
/// ```
/// use core::pin::Pin;
/// use wdm::{DeviceQueue, DeviceQueueNode, Insert, PassiveLevel, Remove, irql::raise_to_dispatch};
///
/// fn submit<'n>(
///     queue: &DeviceQueue<'n, u32>,
///     node: Pin<&'n DeviceQueueNode<u32>>,
///     irql: &mut PassiveLevel,
/// ) {
///     raise_to_dispatch(irql, |irql| {
///         if let Ok(Insert::StartNow(mut busy)) = queue.insert(node, irql) {
///             // Serve `node`, then:
///             while let Remove::Next(_node, again) = queue.remove(busy, irql) {
///                 busy = again;
///             }
///         }
///     });
/// }
/// ```
///
/// # Invariants
///
/// * A node whose `queued` is true is on its home queue or on its way there or back, with one thread; nobody
///   else inserts it.
/// * A node's entry is on no queue but its home. So a routine that is called for the home queue and the entry
///   finds it on that queue or not at all, under the lock that the routine takes.
/// * Nodes outlive the queue, which removes what is left when it is dropped.
#[pin_data(PinnedDrop)]
pub struct DeviceQueue<'n, T> {
    #[pin]
    queue: RawDeviceQueue,
    _nodes: PhantomData<&'n DeviceQueueNode<T>>,
}

impl<'n, T> DeviceQueue<'n, T> {
    /// Initialises a queue that is empty and not busy (`KeInitializeDeviceQueue`).
    ///
    /// WDK: "`KeInitializeDeviceQueue` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- RawDeviceQueue::new(),
            _nodes: PhantomData,
        })
    }

    /// Inserts a node at the end, if the queue is busy (`KeInsertDeviceQueue`).
    ///
    /// WDK: "`KeInsertDeviceQueue` function".
    ///
    /// # Errors
    /// [`NodeInUse`] if the node is on a queue, or was on another one than this.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn insert<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        _irql: &mut D,
    ) -> Result<Insert, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: `claim` saw to it that the entry is on no queue and that nobody else inserts it; the node
        // outlives the queue. The token says DISPATCH_LEVEL.
        let queued = unsafe { nt::KeInsertDeviceQueue(self.queue.raw(), entry) != 0 };
        Ok(inserted(node.get_ref(), queued))
    }

    /// Inserts a node behind all whose key is not larger, if the queue is busy (`KeInsertByKeyDeviceQueue`).
    ///
    /// WDK: "`KeInsertByKeyDeviceQueue` function".
    ///
    /// # Errors
    /// As for [`DeviceQueue::insert`].
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn insert_by_key<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        key: u32,
        _irql: &mut D,
    ) -> Result<Insert, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: as in `insert`.
        let queued = unsafe { nt::KeInsertByKeyDeviceQueue(self.queue.raw(), entry, key) != 0 };
        Ok(inserted(node.get_ref(), queued))
    }

    /// Removes the first node; without one, the queue is not busy any more (`KeRemoveDeviceQueue`).
    ///
    /// WDK: "`KeRemoveDeviceQueue` function".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn remove<D: Dispatch>(
        &self,
        _busy: Busy,
        _irql: &mut D,
    ) -> Remove<Pin<&'n DeviceQueueNode<T>>> {
        // SAFETY: the queue was initialised where it is, and is busy. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveDeviceQueue(self.queue.raw()) };
        // SAFETY: the routine has just removed the entry.
        unsafe { removed(entry) }
    }

    /// Removes the first node whose key is not smaller than `key`, or else the first of all; without one, the
    /// queue is not busy any more (`KeRemoveByKeyDeviceQueue`).
    ///
    /// WDK: "`KeRemoveByKeyDeviceQueue` function".
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn remove_by_key<D: Dispatch>(
        &self,
        _busy: Busy,
        key: u32,
        _irql: &mut D,
    ) -> Remove<Pin<&'n DeviceQueueNode<T>>> {
        // SAFETY: as in `remove`.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueue(self.queue.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { removed(entry) }
    }

    /// Does the same for who does not know whether the queue is busy (`KeRemoveByKeyDeviceQueueIfBusy`).
    ///
    /// Where the queue is busy because another serves a request, the caller takes that over: the other's
    /// [`Busy`] is worth nothing any more. The routine has no page in the WDK's documentation.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    pub fn remove_by_key_if_busy<D: Dispatch>(
        &self,
        key: u32,
        _irql: &mut D,
    ) -> Remove<Pin<&'n DeviceQueueNode<T>>> {
        // SAFETY: the queue was initialised where it is. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(self.queue.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { removed(entry) }
    }

    /// Removes one node, wherever it is, and says whether it was queued (`KeRemoveEntryDeviceQueue`).
    ///
    /// WDK: "`KeRemoveEntryDeviceQueue` function".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn remove_entry<L: AtMostDispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        _irql: &mut L,
    ) -> bool {
        if node.home.load(Ordering::Acquire) != self.queue.raw() {
            return false;
        }
        // SAFETY: the entry is on this queue or on none, and the routine finds out which under the queue's
        // lock; the node outlives the queue.
        let was_queued =
            unsafe { nt::KeRemoveEntryDeviceQueue(self.queue.raw(), node.entry.get()) != 0 };
        if was_queued {
            node.queued.store(false, Ordering::Release);
        }
        was_queued
    }

    /// Makes the caller the one thread that inserts a node, into this queue.
    fn claim(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
    ) -> Result<*mut nt::KDEVICE_QUEUE_ENTRY, NodeInUse> {
        let this = self.queue.raw();
        let home =
            node.home
                .compare_exchange(null_mut(), this, Ordering::AcqRel, Ordering::Acquire);
        if home.is_err_and(|home| home != this) || node.queued.swap(true, Ordering::Acquire) {
            return Err(NodeInUse);
        }
        Ok(node.entry.get())
    }
}

fn inserted<T>(node: &DeviceQueueNode<T>, queued: bool) -> Insert {
    if queued {
        return Insert::Queued;
    }
    node.queued.store(false, Ordering::Release);
    Insert::StartNow(Busy(()))
}

/// The node that an entry belongs to, which is on no queue any more.
///
/// # Safety
/// A routine has just removed the entry of a `DeviceQueueNode<T>` that is borrowed for `'n`; or it is NULL.
unsafe fn removed<'n, T>(
    entry: *mut nt::KDEVICE_QUEUE_ENTRY,
) -> Remove<Pin<&'n DeviceQueueNode<T>>> {
    if entry.is_null() {
        return Remove::NotBusy;
    }
    // SAFETY: the entry is that far inside its node.
    let node = unsafe { entry.byte_sub(offset_of!(DeviceQueueNode<T>, entry)) };
    // SAFETY: the node was inserted by a reference that is good for `'n`.
    let node = unsafe { &*node.cast::<DeviceQueueNode<T>>() };
    node.queued.store(false, Ordering::Release);
    // SAFETY: that reference was pinned.
    Remove::Next(unsafe { Pin::new_unchecked(node) }, Busy(()))
}

#[pinned_drop]
impl<T> PinnedDrop for DeviceQueue<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: no code of a driver runs above DISPATCH_LEVEL with this crate, and a queue is dropped under no
        // spin lock.
        let mut irql = unsafe { CallerLevel::assume() };
        raise_to_dispatch(&mut irql, |irql| {
            while let Remove::Next(node, _) = self.remove_by_key_if_busy(0, irql) {
                // Another queue may have it now.
                node.home.store(null_mut(), Ordering::Release);
            }
        });
    }
}

/// A `KDEVICE_QUEUE` in its place.
#[pin_data]
pub(crate) struct RawDeviceQueue {
    #[pin]
    queue: UnsafeCell<nt::KDEVICE_QUEUE>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: what is in a KDEVICE_QUEUE is the kernel's, whose routines take its lock and may be called for it in
// any thread. What the entries belong to is for the two users of this type to see to.
unsafe impl Sync for RawDeviceQueue {}

impl RawDeviceQueue {
    /// Initialises a queue that is empty and not busy (`KeInitializeDeviceQueue`).
    pub(crate) fn new() -> impl PinInit<Self> {
        let initialise = |slot: *mut Self| {
            // SAFETY: the slot is valid for writes, and the queue stays there.
            unsafe { nt::KeInitializeDeviceQueue(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot, of which the marker has no size, and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }

    /// The queue as the kernel's routines take it.
    pub(crate) fn raw(&self) -> *mut nt::KDEVICE_QUEUE {
        self.queue.get()
    }
}
