//! Device queues: a request that finds the device idle is started, every other request is queued.

use core::{
    cell::{Cell, UnsafeCell},
    marker::{PhantomData, PhantomPinned},
    mem::offset_of,
    ops::Deref,
    pin::Pin,
    ptr::from_ref,
    sync::atomic::Ordering,
};

use nt::atomic::AtomicUsize;
use pinned_init::{Init, PinInit, pin_data, pin_init, pin_init_from_closure, pinned_drop};

use crate::ke::{
    irql::{AtMostDispatch, CallerLevel, Dispatch, DispatchLevel, raise_to_dispatch},
    place::Place,
};

/// The order of a [`DeviceQueue`] whose nodes are removed in the order of insertion.
pub struct Arrival;

/// The order of a [`DeviceQueue`] whose nodes are inserted and removed by a key.
///
/// # Examples
///
/// ```
/// use wdm::{Busy, ByKey, Remove, irql::DispatchLevel};
///
/// /// Serves the sectors in ascending order, starting at the one that was served, and then from the first one again.
/// fn next<'q, 'n>(
///     busy: Busy<'q, 'n, u32, ByKey>,
///     served: u32,
///     irql: &mut DispatchLevel,
/// ) -> Remove<'q, 'n, u32, ByKey> {
///     busy.remove_by_key(served, irql)
/// }
/// ```
pub struct ByKey;

/// The order of a [`DeviceQueue`] by key that is removed from without a proof that it is busy.
///
/// # Examples
///
/// ```
/// use wdm::{ByKeyIfBusy, DeviceQueue, Remove, irql::DispatchLevel};
///
/// /// Returns the next sector to serve, if there is one.
/// fn next(queue: &DeviceQueue<'_, u32, ByKeyIfBusy>, served: u32, irql: &mut DispatchLevel) -> Option<u32> {
///     match queue.remove_by_key_if_busy(served, irql) {
///         Remove::Next(sector, _) => Some(**sector),
///         Remove::NotBusy => None,
///     }
/// }
/// ```
pub struct ByKeyIfBusy;

/// The proof that a device queue is busy. Its owner serves a request, then removes the next one.
///
/// It belongs to one queue. If it is dropped, the queue stays busy forever.
#[must_use = "the queue stays busy until the next request is removed"]
pub struct Busy<'q, 'n, T, O> {
    queue: &'q DeviceQueue<'n, T, O>,
}

/// The result of an insertion.
#[must_use = "a request that must be started is not queued"]
pub enum Insert<'q, 'n, T, O> {
    /// The request is queued; another one is being served.
    Queued,
    /// The queue was not busy and is now. The request is not queued; the caller starts it.
    StartNow(Busy<'q, 'n, T, O>),
}

/// The result of a removal.
#[must_use = "the queue stays busy until the next request is removed"]
pub enum Remove<'q, 'n, T, O> {
    /// The next request, which the caller starts.
    Next(Pin<&'n DeviceQueueNode<T>>, Busy<'q, 'n, T, O>),
    /// The queue was empty, and is no longer busy.
    NotBusy,
}

/// The error of an insertion: the node is already on a queue.
///
/// # Examples
///
/// ```
/// use core::pin::Pin;
/// use wdm::{DeviceQueue, DeviceQueueNode, Error, Insert, NodeInUse, irql::DispatchLevel};
///
/// /// Fails if the channel waits for the device already.
/// fn wait<'q, 'n>(
///     queue: &'q DeviceQueue<'n, u32>,
///     channel: Pin<&'n DeviceQueueNode<u32>>,
///     irql: &mut DispatchLevel,
/// ) -> Result<Insert<'q, 'n, u32, wdm::Arrival>, Error> {
///     queue.insert(channel, irql).map_err(|NodeInUse| Error::DEVICE_BUSY)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInUse;

/// A value that can be queued in a [`DeviceQueue`].
///
/// # Examples
///
/// ```
/// use pinned_init::{PinInit, pin_data, pin_init};
/// use wdm::DeviceQueueNode;
///
/// /// A channel of the device, which can wait for the device.
/// #[pin_data]
/// struct Channel {
///     #[pin]
///     node: DeviceQueueNode<u32>,
/// }
///
/// fn channel(number: u32) -> impl PinInit<Channel> {
///     pin_init!(Channel { node <- DeviceQueueNode::new(number) })
/// }
/// # fn main() {}
/// ```
#[doc(alias = "KDEVICE_QUEUE_ENTRY")]
#[pin_data]
pub struct DeviceQueueNode<T> {
    #[pin]
    entry: UnsafeCell<nt::KDEVICE_QUEUE_ENTRY>,
    /// The number of the queue that the node is on, or is being inserted into or removed from; [`NOWHERE`] if there is none. See
    /// [`DeviceQueue`].
    home: AtomicUsize,
    value: T,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the queue's routines access the entry, under the queue's own lock; see the invariants of
// `DeviceQueue`. The value is only shared.
unsafe impl<T: Sync> Sync for DeviceQueueNode<T> {}

impl<T> DeviceQueueNode<T> {
    /// Makes a node that is on no queue, with a value or an in-place initialiser of one.
    ///
    /// # IRQL
    /// Any.
    pub fn new(value: impl Init<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            entry: UnsafeCell::new(nt::KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] }),
            home: AtomicUsize::new(NOWHERE),
            value <- value,
            _pinned: PhantomPinned,
        })
    }

    /// Returns the entry, as a pointer that may access the whole node.
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

/// The home of a node that is on no queue.
const NOWHERE: usize = 0;
/// The bit in the home of a node that a thread is removing with [`DeviceQueue::remove_entry`].
const MARK: usize = 1;

/// The number of the next queue. A number, unlike an address, is never used again, so a node of a queue whose memory was freed without a
/// drop is on no other queue.
static NEXT: AtomicUsize = AtomicUsize::new(2);

/// A device queue of nodes that it borrows for `'n` (`KDEVICE_QUEUE`).
///
/// A device that serves one request at a time is idle or busy. A request that arrives at an idle device is not
/// queued but started. While it is served, further requests are queued. When the device has served a request, the
/// driver removes the next one, or the device becomes idle. For IRPs use [`StartIoQueue`](crate::StartIoQueue).
///
/// `O` is the order of the queue: [`Arrival`], [`ByKey`] or [`ByKeyIfBusy`]. NT does not define the position of a
/// node that is inserted with a key among nodes without one; here a queue has one order.
///
/// WDK: [Introduction to Device Queue Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-device-queue-objects).
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
/// # What goes wrong in C
///
/// A driver ignores the return value of the insertion, so the request is neither queued nor started; removes a
/// request from a queue that is not busy; calls the routines at `PASSIVE_LEVEL`, at which most of them seem to
/// work; queues an entry twice; or removes the head in a Cancel routine instead of the IRP's own entry.
// # Invariants
//
// * A node's entry is on no queue but its home; a node whose home is `NOWHERE` is on none. Only the thread that changes
//   the home from `NOWHERE` inserts the node, and only the thread that removes the entry changes the home back.
// * While a home has a thread's mark, only that thread calls `KeRemoveEntryDeviceQueue`, for that home, and no
//   other thread changes the home. So the routine finds the entry on that queue or on none, under the queue's
//   lock.
// * Nodes outlive the queue, which removes the remaining nodes when it is dropped.
#[doc(alias = "KDEVICE_QUEUE")]
#[pin_data(PinnedDrop)]
pub struct DeviceQueue<'n, T, O = Arrival> {
    #[pin]
    queue: RawDeviceQueue,
    place: Place,
    /// An even number that no other queue has.
    number: usize,
    // Invariant in `'n` and `T`, since nodes are inserted through a shared reference; and in the order.
    _nodes: PhantomData<Cell<&'n DeviceQueueNode<T>>>,
    _order: PhantomData<fn(O) -> O>,
}

// SAFETY: every routine acquires the lock of the kernel's queue. Nodes inserted in one thread are removed in
// another, so references to them are shared, which requires `T: Sync`.
unsafe impl<T: Sync, O> Sync for DeviceQueue<'_, T, O> {}
// SAFETY: as above; the queue holds references to nodes.
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
            number: NEXT.fetch_add(2, Ordering::Relaxed),
            _nodes: PhantomData,
            _order: PhantomData,
        })
    }

    /// Returns the pointer that the kernel's routines take.
    fn raw(&self) -> *mut nt::KDEVICE_QUEUE {
        self.place.check(self);
        self.queue.raw()
    }

    /// Removes a node from any position in the queue, and returns whether it was queued
    /// (`KeRemoveEntryDeviceQueue`).
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
        let number = self.number;
        // A thread that removes the node waits for the mark to be cleared, so this thread must not be preempted.
        // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
        let old_irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
        let marked = node
            .home
            .compare_exchange(number, number | MARK, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        let was_queued = marked && {
            // SAFETY: this thread set the mark, so the entry is on this queue or on none; the routine checks which
            // under the queue's lock. The node outlives the queue.
            unsafe { nt::KeRemoveEntryDeviceQueue(self.raw(), DeviceQueueNode::entry(node)) != 0 }
        };
        if marked {
            // If this thread removed the node, it is on no queue. Else another thread has removed it, or has not
            // inserted it yet, and that thread finishes its operation.
            let home = if was_queued { NOWHERE } else { number };
            node.home.store(home, Ordering::Release);
        }
        // SAFETY: `old_irql` is the value that the IRQL was raised from.
        unsafe { nt::KeLowerIrql(old_irql) };
        was_queued
    }

    /// Claims a node for insertion into this queue: only the caller may insert it.
    fn claim(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
    ) -> Result<*mut nt::KDEVICE_QUEUE_ENTRY, NodeInUse> {
        node.home
            .compare_exchange(NOWHERE, self.number, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|_| NodeInUse)?;
        Ok(DeviceQueueNode::entry(node))
    }

    /// Marks a node that this thread removed from the queue, or could not insert, as being on no queue.
    fn release<D: Dispatch>(&self, node: Pin<&'n DeviceQueueNode<T>>, _irql: &mut D) {
        // Fails while the home has a mark, which another processor, at DISPATCH_LEVEL, clears after one call.
        while node
            .home
            .compare_exchange_weak(self.number, NOWHERE, Ordering::AcqRel, Ordering::Relaxed)
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

    /// Returns the node that a removed entry belongs to, after marking it as being on no queue.
    ///
    /// # Safety
    /// A routine has just removed the entry from this queue, or the entry is NULL.
    unsafe fn removed<D: Dispatch>(
        &self,
        entry: *mut nt::KDEVICE_QUEUE_ENTRY,
        irql: &mut D,
    ) -> Remove<'_, 'n, T, O> {
        if entry.is_null() {
            return Remove::NotBusy;
        }
        let node = entry.wrapping_byte_sub(offset_of!(DeviceQueueNode<T>, entry));
        // SAFETY: the entry is at that offset in its node, and its pointer was derived from one to the node. The
        // node was inserted through a reference that is valid for `'n`.
        let node = unsafe { &*node.cast::<DeviceQueueNode<T>>().cast_const() };
        // SAFETY: that reference was pinned.
        let node = unsafe { Pin::new_unchecked(node) };
        self.release(node, irql);
        Remove::Next(node, Busy { queue: self })
    }
}

impl<'n, T> DeviceQueue<'n, T, Arrival> {
    /// Inserts a node at the tail if the queue is busy, else makes the queue busy (`KeInsertDeviceQueue`).
    ///
    /// WDK: [KeInsertDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertdevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// [`NodeInUse`] if the node is on a queue.
    #[doc(alias = "KeInsertDeviceQueue")]
    pub fn insert<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        irql: &mut D,
    ) -> Result<Insert<'_, 'n, T, Arrival>, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: `claim` guarantees that the entry is on no queue and that no other thread inserts it; the node
        // outlives the queue. The token says DISPATCH_LEVEL.
        let queued = unsafe { nt::KeInsertDeviceQueue(self.raw(), entry) };
        Ok(self.inserted(node, queued, irql))
    }
}

impl<'q, 'n, T> Busy<'q, 'n, T, Arrival> {
    /// Removes the first node; if there is none, the queue becomes not busy (`KeRemoveDeviceQueue`).
    ///
    /// WDK: [KeRemoveDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremovedevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveDeviceQueue")]
    pub fn remove<D: Dispatch>(self, irql: &mut D) -> Remove<'q, 'n, T, Arrival> {
        // SAFETY: the queue was initialised in place, and is busy. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveDeviceQueue(self.queue.raw()) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.queue.removed(entry, irql) }
    }
}

/// An order by key.
#[diagnostic::on_unimplemented(
    message = "a device queue of order `{Self}` has no keys",
    note = "use the order `ByKey`, or `ByKeyIfBusy`"
)]
pub trait Keyed: sealed::Sealed {}

impl Keyed for ByKey {}
impl Keyed for ByKeyIfBusy {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::ByKey {}
    impl Sealed for super::ByKeyIfBusy {}
}

impl<'n, T, O: Keyed> DeviceQueue<'n, T, O> {
    /// Inserts a node behind all nodes whose key is not larger if the queue is busy, else makes the queue busy
    /// (`KeInsertByKeyDeviceQueue`).
    ///
    /// WDK: [KeInsertByKeyDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinsertbykeydevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// [`NodeInUse`] if the node is on a queue.
    #[doc(alias = "KeInsertByKeyDeviceQueue")]
    pub fn insert_by_key<D: Dispatch>(
        &self,
        node: Pin<&'n DeviceQueueNode<T>>,
        key: u32,
        irql: &mut D,
    ) -> Result<Insert<'_, 'n, T, O>, NodeInUse> {
        let entry = self.claim(node)?;
        // SAFETY: as in `insert`.
        let queued = unsafe { nt::KeInsertByKeyDeviceQueue(self.raw(), entry, key) };
        Ok(self.inserted(node, queued, irql))
    }
}

impl<'q, 'n, T> Busy<'q, 'n, T, ByKey> {
    /// Removes the first node whose key is not smaller than `key`, or else the first node; if there is none, the
    /// queue becomes not busy (`KeRemoveByKeyDeviceQueue`).
    ///
    /// WDK: [KeRemoveByKeyDeviceQueue](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keremovebykeydevicequeue).
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveByKeyDeviceQueue")]
    pub fn remove_by_key<D: Dispatch>(self, key: u32, irql: &mut D) -> Remove<'q, 'n, T, ByKey> {
        // SAFETY: the queue was initialised in place, and is busy. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueue(self.queue.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.queue.removed(entry, irql) }
    }
}

impl<'n, T> DeviceQueue<'n, T, ByKeyIfBusy> {
    /// Removes a node as [`Busy::remove_by_key`] does, without knowing whether the queue is busy
    /// (`KeRemoveByKeyDeviceQueueIfBusy`).
    ///
    /// If the queue is busy because another thread serves a request, the caller takes over from that thread. So the
    /// [`Busy`] of such a queue proves nothing, and has no method that removes a node. The WDK's documentation has
    /// no page for the routine.
    ///
    /// # IRQL
    /// Exactly `DISPATCH_LEVEL`.
    #[doc(alias = "KeRemoveByKeyDeviceQueueIfBusy")]
    pub fn remove_by_key_if_busy<D: Dispatch>(
        &self,
        key: u32,
        irql: &mut D,
    ) -> Remove<'_, 'n, T, ByKeyIfBusy> {
        // SAFETY: the queue was initialised in place. The token says DISPATCH_LEVEL.
        let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(self.raw(), key) };
        // SAFETY: the routine has just removed the entry.
        unsafe { self.removed(entry, irql) }
    }
}

#[pinned_drop]
impl<T, O> PinnedDrop for DeviceQueue<'_, T, O> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: a driver on this crate runs no code above DISPATCH_LEVEL. The token is used only to raise the
        // IRQL, which is allowed under any lock.
        let mut irql = unsafe { CallerLevel::assume() };
        let this = self.as_ref().get_ref();
        let remove_one = |irql: &mut DispatchLevel| {
            // SAFETY: the queue was initialised in place. The token says DISPATCH_LEVEL.
            let entry = unsafe { nt::KeRemoveByKeyDeviceQueueIfBusy(this.raw(), 0) };
            // SAFETY: the routine has just removed the entry.
            matches!(unsafe { this.removed(entry, irql) }, Remove::Next(..))
        };
        // One node at a time, so that the IRQL is raised only briefly.
        while raise_to_dispatch(&mut irql, remove_one) {}
    }
}

/// A pinned `KDEVICE_QUEUE`.
#[pin_data]
pub(crate) struct RawDeviceQueue {
    #[pin]
    queue: UnsafeCell<nt::KDEVICE_QUEUE>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access a KDEVICE_QUEUE; they acquire its lock and may be called in any thread.
// The two users of this type are responsible for the objects that contain the entries.
unsafe impl Sync for RawDeviceQueue {}

impl RawDeviceQueue {
    /// Initialises a queue that is empty and not busy (`KeInitializeDeviceQueue`).
    pub(crate) fn new() -> impl PinInit<Self> {
        let initialise = |slot: *mut Self| {
            // SAFETY: the slot is valid for writes, and the queue stays there.
            unsafe { nt::KeInitializeDeviceQueue(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot (the marker has no size) and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }

    /// Returns the pointer that the kernel's routines take.
    pub(crate) fn raw(&self) -> *mut nt::KDEVICE_QUEUE {
        self.queue.get()
    }
}
