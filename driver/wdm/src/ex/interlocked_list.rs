//! Interlocked lists: each has its own spin lock and can be used at any IRQL.

use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    num::NonZeroUsize,
    pin::Pin,
    ptr::{NonNull, null_mut},
};

use pinned_init::{PinInit, pin_data, pin_init, pin_init_from_closure, pinned_drop};

use crate::{
    ex::node::ListItem,
    ke::{place::Place, spin_lock::RawSpinLock},
};

/// Identifies an entry of a list, for comparison with other identifiers.
///
/// The entry may no longer be on the list, so it cannot be accessed through its identifier.
///
/// # Examples
///
/// ```
/// use wdm::{EntryId, InterlockedList, Node, ZoneBox};
///
/// /// Inserts an event, and returns whether it follows the one that the caller inserted before.
/// fn follows(events: &InterlockedList<ZoneBox<Node<u32>>>, event: ZoneBox<Node<u32>>, before: EntryId) -> bool {
///     events.insert_tail(event) == Some(before)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntryId(NonZeroUsize);

impl EntryId {
    /// Returns the identifier of an item's entry.
    ///
    /// # IRQL
    /// Any.
    pub fn of<I: ListItem>(item: &I) -> Self {
        Self(item.entry().addr())
    }

    /// Returns the identifier of a free block's entry, which is at the block's address.
    pub(crate) fn of_block(block: NonNull<u8>) -> Self {
        Self(block.addr())
    }

    /// Returns the identifier of the entry that a routine returned; `None` for NULL.
    pub(crate) fn returned<T>(entry: *mut T) -> Option<Self> {
        NonZeroUsize::new(entry.addr()).map(Self)
    }
}

/// A doubly linked list that owns its items (`LIST_ENTRY`, `ExInterlockedInsertHeadList`,
/// `ExInterlockedInsertTailList`, `ExInterlockedRemoveHeadList`).
///
/// It can be used at any IRQL, since its routines disable interrupts. Only the head can be removed, so the list is
/// not suitable for cancelable IRPs. Items that are on the list when it is dropped are dropped too.
///
/// WDK: [Singly and Doubly Linked Lists](https://learn.microsoft.com/windows-hardware/drivers/kernel/singly-and-doubly-linked-lists).
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedList, Node, NtStatus, PassiveLevel, Zone, ZoneBox};
///
/// type Event = ZoneBox<Node<u32>>;
///
/// fn report(events: &InterlockedList<Event>, zone: &Zone<Node<u32>>, code: u32) -> bool {
///     match zone.allocate(Node::new(code)) {
///         Some(event) => events.insert_tail(event).is_none(),
///         None => false,
///     }
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver also acquires the list's spin lock with `KeAcquireSpinLock`, which deadlocks with an interrupt; walks
/// the list, or removes an entry from its middle, while others call the interlocked routines; links an entry twice;
/// or frees it while it is linked. Here the driver cannot access the lock or the links, and the list owns its
/// items.
#[doc(alias = "InitializeListHead")]
#[doc(alias = "LIST_ENTRY")]
#[doc(alias = "ExInterlockedInsertHeadList")]
#[doc(alias = "ExInterlockedInsertTailList")]
#[doc(alias = "ExInterlockedRemoveHeadList")]
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct InterlockedList<I: ListItem> {
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
    #[pin]
    lock: RawSpinLock,
    place: Place,
    // Owns items; invariant, since items are inserted and removed through a shared reference.
    _items: PhantomData<UnsafeCell<I>>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the routines access the head, under the lock. Items move from thread to thread, which is allowed
// since every `ListItem` is `Send`.
unsafe impl<I: ListItem> Sync for InterlockedList<I> {}
// SAFETY: as above.
unsafe impl<I: ListItem> Send for InterlockedList<I> {}

impl<I: ListItem> InterlockedList<I> {
    /// Initialises an empty list and its lock (`InitializeListHead`, `KeInitializeSpinLock`).
    ///
    /// WDK: [KeInitializeSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeSpinLock")]
    pub fn new() -> impl PinInit<Self> {
        pin_init!(&this in Self {
            head <- empty(),
            lock <- RawSpinLock::new(),
            place: Place::of(this),
            _items: PhantomData,
            _pinned: PhantomPinned,
        })
    }

    /// Returns the pointer that the kernel's routines take.
    fn head(&self) -> *mut nt::LIST_ENTRY {
        self.place.check(self);
        self.head.get()
    }

    /// Inserts an item at the head (`ExInterlockedInsertHeadList`). Returns the previous first entry, or `None` if
    /// the list was empty.
    ///
    /// WDK: [ExInterlockedInsertHeadList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedinsertheadlist).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedInsertHeadList")]
    pub fn insert_head(&self, item: I) -> Option<EntryId> {
        let (head, lock) = (self.head(), self.lock.raw());
        // SAFETY: the head and the lock were initialised in place and are used by this list only. The item is given
        // up, so its entry is on no list and stays valid until it is removed.
        let first =
            unsafe { nt::ExInterlockedInsertHeadList(head, item.into_entry().as_ptr(), lock) };
        EntryId::returned(first)
    }

    /// Inserts an item at the tail (`ExInterlockedInsertTailList`). Returns the previous last entry, or `None` if
    /// the list was empty.
    ///
    /// WDK: [ExInterlockedInsertTailList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedinserttaillist).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedInsertTailList")]
    pub fn insert_tail(&self, item: I) -> Option<EntryId> {
        let (head, lock) = (self.head(), self.lock.raw());
        // SAFETY: as in `insert_head`.
        let last =
            unsafe { nt::ExInterlockedInsertTailList(head, item.into_entry().as_ptr(), lock) };
        EntryId::returned(last)
    }

    /// Removes the item at the head (`ExInterlockedRemoveHeadList`). Returns `None` if the list is empty.
    ///
    /// WDK: [ExInterlockedRemoveHeadList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedremoveheadlist).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedRemoveHeadList")]
    pub fn remove_head(&self) -> Option<I> {
        // SAFETY: the head and the lock were initialised in place and are used by this list only.
        let entry = unsafe { nt::ExInterlockedRemoveHeadList(self.head(), self.lock.raw()) };
        // SAFETY: every entry on the list came from `into_entry`, and only this caller removed this one.
        NonNull::new(entry).map(|entry| unsafe { I::from_entry(entry) })
    }
}

#[pinned_drop]
impl<I: ListItem> PinnedDrop for InterlockedList<I> {
    fn drop(self: Pin<&mut Self>) {
        while self.remove_head().is_some() {}
    }
}

/// Initialises the list head in place.
fn empty() -> impl PinInit<UnsafeCell<nt::LIST_ENTRY>> {
    let initialise = |slot: *mut UnsafeCell<nt::LIST_ENTRY>| {
        // SAFETY: the slot is valid for writes, and the list head stays there.
        unsafe { nt::list::InitializeListHead(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

/// A singly linked, last-in, first-out list that owns its items (`SINGLE_LIST_ENTRY`, `ExInterlockedPushEntryList`,
/// `ExInterlockedPopEntryList`).
///
/// It behaves like an [`InterlockedList`]. It is not an `SLIST_HEADER`, which has other routines.
///
/// WDK: [Singly and Doubly Linked Lists](https://learn.microsoft.com/windows-hardware/drivers/kernel/singly-and-doubly-linked-lists).
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedStack, Node, ZoneBox};
///
/// fn latest(events: &InterlockedStack<ZoneBox<Node<u32>>>) -> Option<u32> {
///     events.pop().map(|event| **event)
/// }
/// ```
#[doc(alias = "SINGLE_LIST_ENTRY")]
#[doc(alias = "ExInterlockedPushEntryList")]
#[doc(alias = "ExInterlockedPopEntryList")]
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct InterlockedStack<I: ListItem> {
    #[pin]
    head: UnsafeCell<nt::SINGLE_LIST_ENTRY>,
    #[pin]
    lock: RawSpinLock,
    // Owns items; invariant, since items are inserted and removed through a shared reference.
    _items: PhantomData<UnsafeCell<I>>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the routines access the head, under the lock. Items move from thread to thread, which is allowed
// since every `ListItem` is `Send`.
unsafe impl<I: ListItem> Sync for InterlockedStack<I> {}
// SAFETY: as above.
unsafe impl<I: ListItem> Send for InterlockedStack<I> {}

impl<I: ListItem> InterlockedStack<I> {
    /// Initialises an empty stack and its lock (`KeInitializeSpinLock`).
    ///
    /// WDK: [KeInitializeSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeSpinLock")]
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            head: UnsafeCell::new(nt::SINGLE_LIST_ENTRY { Next: null_mut() }),
            lock <- RawSpinLock::new(),
            _items: PhantomData,
            _pinned: PhantomPinned,
        })
    }

    /// Pushes an item (`ExInterlockedPushEntryList`). Returns the previous top entry, or `None` if the stack was
    /// empty.
    ///
    /// WDK: [ExInterlockedPushEntryList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpushentrylist).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedPushEntryList")]
    pub fn push(&self, item: I) -> Option<EntryId> {
        let (head, entry) = (self.head.get(), item.into_entry().as_ptr().cast());
        // SAFETY: the head and the lock were initialised in place and are used by this list only. The item is given
        // up, so its entry is on no list and stays until it is popped.
        let top = unsafe { nt::ExInterlockedPushEntryList(head, entry, self.lock.raw()) };
        EntryId::returned(top)
    }

    /// Pops the top item (`ExInterlockedPopEntryList`). Returns `None` if the stack is empty.
    ///
    /// WDK: [ExInterlockedPopEntryList](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpopentrylist).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedPopEntryList")]
    pub fn pop(&self) -> Option<I> {
        // SAFETY: the head and the lock were initialised in place and are used by this list only.
        let entry = unsafe { nt::ExInterlockedPopEntryList(self.head.get(), self.lock.raw()) };
        // SAFETY: every entry on the stack came from `into_entry`, and only this caller popped this one.
        NonNull::new(entry).map(|entry| unsafe { I::from_entry(entry.cast()) })
    }
}

#[pinned_drop]
impl<I: ListItem> PinnedDrop for InterlockedStack<I> {
    fn drop(self: Pin<&mut Self>) {
        while self.pop().is_some() {}
    }
}
