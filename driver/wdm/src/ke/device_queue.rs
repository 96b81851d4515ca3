//! Device queues: who finds the device idle starts it, everybody else waits in line.

use core::{
    cell::{Cell, UnsafeCell},
    marker::{PhantomData, PhantomPinned},
    mem::offset_of,
    ops::Deref,
    pin::Pin,
    ptr::{from_ref, null_mut},
    sync::atomic::{AtomicPtr, Ordering},
};

use pinned_init::{Init, PinInit, pin_data, pin_init, pin_init_from_closure, pinned_drop};

use crate::ke::{
    irql::{AtMostDispatch, CallerLevel, Dispatch, DispatchLevel, raise_to_dispatch},
    place::Place,
};

/// The order of a [`DeviceQueue`] whose nodes are removed as they were inserted.
pub struct Arrival;

/// The order of a [`DeviceQueue`] whose nodes are inserted and removed by a key.
pub struct ByKey;

/// The order of a [`DeviceQueue`] by key whose remover does not know whether the queue is busy.
pub struct ByKeyIfBusy;

/// The proof that a device queue is busy: who has it serves a request, and asks for the next when done.
///
/// It belongs to one queue. Whoever drops it leaves the queue busy for good.
#[must_use = "the queue stays busy until it is asked for the next request"]
pub struct Busy<'q, 'n, T, O> {
    queue: &'q DeviceQueue<'n, T, O>,
}

/// What became of a request that was inserted.
#[must_use = "a request that is to be started is not queued"]
pub enum Insert<'q, 'n, T, O> {
    /// It is queued, behind the one that is served.
    Queued,
    /// It is not queued: the queue was not busy, and is now. The caller starts it.
    StartNow(Busy<'q, 'n, T, O>),
}

/// What came off a queue.
#[must_use = "the queue stays busy until it is asked for the next request"]
pub enum Remove<'q, 'n, T, O> {
    /// The next request, which the caller starts.
    Next(Pin<&'n DeviceQueueNode<T>>, Busy<'q, 'n, T, O>),
    /// There is none, and the queue is not busy any more.
    NotBusy,
}

/// Says that a node cannot be inserted: it is on a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInUse;

/// A value that can wait in a [`DeviceQueue`].
#[pin_data]
pub struct DeviceQueueNode<T> {
    #[pin]
    entry: UnsafeCell<nt::KDEVICE_QUEUE_ENTRY>,
    /// The queue that the node is on, or on its way to or from; NULL if it is on none. See [`claim`].
    home: AtomicPtr<nt::KDEVICE_QUEUE>,
    value: T,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the entry is only touched by the queue's routines, under the queue's own lock; see the invariants of
// `DeviceQueue`. The value is only shared.
unsafe impl<T: Sync> Sync for DeviceQueueNode<T> {}

impl<T> DeviceQueueNode<T> {
    /// Makes a node that is on no queue, with a value or what an initialiser makes in its place.
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: impl Init<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            entry: UnsafeCell::new(nt::KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] }),
            home: AtomicPtr::new(null_mut()),
            value <- value,
            _pinned: PhantomPinned,
        })
    }

    /// The entry, by a pointer with which the node can be reached again.
    fn entry(this: Pin<&Self>) -> *mut nt::KDEVICE_QUEUE_ENTRY {
        let node = from_ref(this.get_ref());
        node.wrapping_byte_add(offset_of!(Self, entry))
            .cast_mut()
            .cast()
    }
}

impl<T> Deref for DeviceQueueNode<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The mark of a node whose entry a thread is just taking off its queue by [`DeviceQueue::remove_entry`]: the
/// queue's address with its lowest bit set.
fn with_mark(queue: *mut nt::KDEVICE_QUEUE) -> *mut nt::KDEVICE_QUEUE {
    queue.map_addr(|address| address | 1)
}

/// A device queue of nodes that are borrowed for `'n` (`KDEVICE_QUEUE`).
///
/// A device that serves one request at a time is idle or busy. The first request that comes is not queued
/// but started; while it is served, others wait; and whoever is done with one removes the next, or leaves
/// the device idle. For IRPs there is [`StartIoQueue`](crate::StartIoQueue).
///
/// `O` is the queue's order: [`Arrival`], [`ByKey`] or [`ByKeyIfBusy`]. NT leaves undefined where a node goes that is
/// inserted with a key among others without; here a queue has one kind.
///
/// # What goes wrong in C
///
/// The return value of the insertion is not looked at, and the request is neither queued nor started; a
/// request is removed from a queue that is not busy; the routines are called at `PASSIVE_LEVEL`, where most of
/// them seem to work; an entry is queued twice; a Cancel routine removes the head instead of its own entry.
///
/// WDK: [Introduction to Device Queue
/// Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-device-queue-objects).
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
///             while let Remove::Next(_node, again) = busy.remove(irql) {
///                 busy = again;
///             }
///         }
///     });
/// }
/// ```
///
/// # Invariants
///
/// * A node's entry is on no queue but its home; a node whose home is NULL is on none. Whoever makes the home something
///   else than NULL is the only one to insert the node, and whoever takes the entry off is the one to make it NULL.
/// * While a thread has put its mark on a home, it alone may call `KeRemoveEntryDeviceQueue`, for that home, and nobody
///   makes the home NULL. So the routine finds the entry on that queue or on none, under the lock that it takes.
/// * Nodes outlive the queue, which removes what is left when it is dropped.
#[pin_data(PinnedDrop)]
pub struct DeviceQueue<'n, T, O = Arrival> {
    #[pin]
    queue: RawDeviceQueue,
    place: Place,
    // Invariant in `'n` and `T`, since nodes come in by a shared reference; and in the order.
    _nodes: PhantomData<Cell<&'n DeviceQueueNode<T>>>,
    _order: PhantomData<fn(O) -> O>,
}

// SAFETY: the queue is the kernel's, and its lock is taken by every routine. Nodes inserted in one thread are removed in
// another, which sharing references to them allows if `T` is `Sync`.
unsafe impl<T: Sync, O> Sync for DeviceQueue<'_, T, O> {}
// SAFETY: as above: the queue has references to nodes.
unsafe impl<T: Sync, O> Send for DeviceQueue<'_, T, O> {}

impl<'n, T, O> DeviceQueue<'n, T, O> {
    /// Initialises a queue that is empty and not busy (`KeInitializeDeviceQueue`).
    ///
    /// WDK: [KeInitializeDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializedevicequeue).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeInitializeDeviceQueue")]
    pub fn new() -> impl PinInit<Self> {
        pin_init!(&this in Self {
            queue <- RawDeviceQueue::new(),
            place: Place::of(this),
            _nodes: PhantomData,
            _order: PhantomData,
        })
    }

    /// Removes one node, wherever it is, and says whether it was queued (`KeRemoveEntryDeviceQueue`).
    ///
    /// WDK: [KeRemoveEntryDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremoveentrydevicequeue).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveEntryDeviceQueue")]
    pub fn remove_entry<L: AtMostDispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        _irql: &mut L,
    ) -> bool {
        let queue = self.queue.raw();
        // Whoever takes the node off the queue waits for the mark, so the thread must not lose its processor.
        // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
        let old_irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
        let marked = node
            .home
            .compare_exchange(queue, with_mark(queue), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        let was_queued = marked && {
            // SAFETY: the mark is this thread's, so the entry is on this queue or on none, and the routine finds out
            // which under the queue's lock. The node outlives the queue.
            unsafe { nt::KeRemoveEntryDeviceQueue(queue, DeviceQueueNode::entry(node)) != 0 }
        };
        if marked {
            // Taken off by this thread, the node is on no queue. Else another thread has taken it, or has not put it there
            // yet, and goes on with it.
            let home = if was_queued { null_mut() } else { queue };
            node.home.store(home, Ordering::Release);
        }
        // SAFETY: the IRQL was raised from this one above.
        unsafe { nt::KeLowerIrql(old_irql) };
        was_queued
    }

    /// Makes the caller the one thread that inserts a node, into this queue.
    fn claim(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
    ) -> Result<*mut nt::KDEVICE_QUEUE_ENTRY, NodeInUse> {
        node.home
            .compare_exchange(
                null_mut(),
                self.queue.raw(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .map_err(|_| NodeInUse)?;
        Ok(DeviceQueueNode::entry(node))
    }

    /// Says that a node which this thread took off the queue, or could not put there, is on no queue.
    fn release<D: Dispatch>(&self, node: Pin<&'n DeviceQueueNode<T>>, _irql: &mut D) {
        let queue = self.queue.raw();
        // Fails while the mark is on it, which another processor at DISPATCH_LEVEL takes away after one call.
        while node
            .home
            .compare_exchange_weak(queue, null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            nt::interlocked::YieldProcessor();
        }
    }

    fn inserted<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        queued: u8,
        irql: &mut D,
    ) -> Insert<'_, 'n, T, O> {
        if queued != 0 {
            return Insert::Queued;
        }
        self.release(node, irql);
        Insert::StartNow(Busy { queue: self })
    }

    /// The node that an entry belongs to, which is on no queue any more.
    ///
    /// # Safety
    /// A routine has just removed the entry from this queue; or it is NULL.
    unsafe fn removed<D: Dispatch>(
        &self,
        entry: *mut nt::KDEVICE_QUEUE_ENTRY,
        irql: &mut D,
    ) -> Remove<'_, 'n, T, O> {
        if entry.is_null() {
            return Remove::NotBusy;
        }
        let node = entry.wrapping_byte_sub(offset_of!(DeviceQueueNode<T>, entry));
        // SAFETY: the entry is that far inside its node, and the pointer was made from one to the node. The node was inserted
        // by a reference that is good for `'n`.
        let node = unsafe { &*node.cast::<DeviceQueueNode<T>>().cast_const() };
        // SAFETY: that reference was pinned.
        let node = unsafe { Pin::new_unchecked(node) };
        self.release(node, irql);
        Remove::Next(node, Busy { queue: self })
    }
}

impl<'n, T> DeviceQueue<'n, T, Arrival> {
    /// Inserts a node at the end, if the queue is busy (`KeInsertDeviceQueue`).
    ///
    /// WDK: [KeInsertDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertdevicequeue).
    ///
    /// # Errors
    /// [`NodeInUse`] if the node is on a queue.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeInsertDeviceQueue")]
    pub fn insert<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        irql: &mut D,
    ) -> Result<Insert<'_, 'n, T, Arrival>, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: `claim` saw to it that the entry is on no queue and that nobody else inserts it; the node
        // outlives the queue. The token says DISPATCH_LEVEL.
        let queued = unsafe { nt::KeInsertDeviceQueue(self.queue.raw(), entry) };
        Ok(self.inserted(node, queued, irql))
    }
}

impl<'q, 'n, T> Busy<'q, 'n, T, Arrival> {
    /// Removes the first node; without one, the queue is not busy any more (`KeRemoveDeviceQueue`).
    ///
    /// WDK: [KeRemoveDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremovedevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveDeviceQueue")]
    pub fn remove<D: Dispatch>(self, irql: &mut D) -> Remove<'q, 'n, T, Arrival> {
        // SAFETY: the queue was initialised where it is, and is busy. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveDeviceQueue(self.queue.queue.raw()) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.queue.removed(entry, irql) }
    }
}

/// An order by key.
pub trait Keyed: sealed::Sealed {}

impl Keyed for ByKey {}
impl Keyed for ByKeyIfBusy {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::ByKey {}
    impl Sealed for super::ByKeyIfBusy {}
}

impl<'n, T, O: Keyed> DeviceQueue<'n, T, O> {
    /// Inserts a node behind all whose key is not larger, if the queue is busy (`KeInsertByKeyDeviceQueue`).
    ///
    /// WDK: [KeInsertByKeyDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertbykeydevicequeue).
    ///
    /// # Errors
    /// [`NodeInUse`] if the node is on a queue.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeInsertByKeyDeviceQueue")]
    pub fn insert_by_key<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        key: u32,
        irql: &mut D,
    ) -> Result<Insert<'_, 'n, T, O>, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: as in `insert`.
        let queued = unsafe { nt::KeInsertByKeyDeviceQueue(self.queue.raw(), entry, key) };
        Ok(self.inserted(node, queued, irql))
    }
}

impl<'q, 'n, T> Busy<'q, 'n, T, ByKey> {
    /// Removes the first node whose key is not smaller than `key`, or else the first of all; without one, the
    /// queue is not busy any more (`KeRemoveByKeyDeviceQueue`).
    ///
    /// WDK: [KeRemoveByKeyDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremovebykeydevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveByKeyDeviceQueue")]
    pub fn remove_by_key<D: Dispatch>(self, key: u32, irql: &mut D) -> Remove<'q, 'n, T, ByKey> {
        // SAFETY: the queue was initialised where it is, and is busy. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueue(self.queue.queue.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.queue.removed(entry, irql) }
    }
}

impl<'n, T> DeviceQueue<'n, T, ByKeyIfBusy> {
    /// Removes a node as [`Busy::remove_by_key`] does, without knowing whether the queue is busy
    /// (`KeRemoveByKeyDeviceQueueIfBusy`).
    ///
    /// If the queue is busy because another thread serves a request, the caller takes that over. So the [`Busy`] of such a
    /// queue proves nothing, and removes nothing. The routine has no page in the WDK's documentation.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveByKeyDeviceQueueIfBusy")]
    pub fn remove_by_key_if_busy<D: Dispatch>(
        &self,
        key: u32,
        irql: &mut D,
    ) -> Remove<'_, 'n, T, ByKeyIfBusy> {
        // SAFETY: the queue was initialised where it is. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(self.queue.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.removed(entry, irql) }
    }
}

#[pinned_drop]
impl<T, O> PinnedDrop for DeviceQueue<'_, T, O> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: no code of a driver runs above DISPATCH_LEVEL with this crate. The token serves to raise the IRQL, which
        // is allowed under any lock.
        let mut irql = unsafe { CallerLevel::assume() };
        let this = self.as_ref().get_ref();
        this.place.check(this);
        let remove_one = |irql: &mut DispatchLevel| {
            // SAFETY: the queue was initialised where it is. The token says DISPATCH_LEVEL.
            let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(this.queue.raw(), 0) };
            // SAFETY: the routine has just removed the entry.
            matches!(unsafe { this.removed(entry, irql) }, Remove::Next(..))
        };
        // One at a time, so that the IRQL is not raised for longer than one takes.
        while raise_to_dispatch(&mut irql, remove_one) {}
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
