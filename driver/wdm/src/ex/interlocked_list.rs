//! Interlocked lists: each with a spin lock of its own, for use at any IRQL.

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

/// Which entry of a list it was: to be compared with others, and nothing else.
///
/// The entry may be gone from the list by the time that anybody looks, so it cannot be followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntryId(NonZeroUsize);

impl EntryId {
    /// Which entry an item has.
    pub fn of<I: ListItem>(item: &I) -> Self {
        Self(item.entry().addr())
    }

    /// Which entry a free block is linked by: its own address.
    pub(crate) fn of_block(block: NonNull<u8>) -> Self {
        Self(block.addr())
    }

    /// What a routine returned, or `None` for NULL.
    pub(crate) fn returned<T>(entry: *mut T) -> Option<Self> {
        NonZeroUsize::new(entry.addr()).map(Self)
    }
}

/// A doubly linked list that owns the items on it (`LIST_ENTRY`, `ExInterlockedInsertHeadList` and its kin).
///
/// It may be used at any IRQL, since its routines run with interrupts off. Only its head can be removed, so
/// it is no place for IRPs that must be cancelable. What is on it when it is dropped is dropped too.
///
/// # What goes wrong in C
///
/// The list's spin lock is also taken by `KeAcquireSpinLock`, which deadlocks with an interrupt; the list is
/// walked, or an entry removed from its middle, beside the interlocked calls; an entry is linked twice, or
/// freed while it is linked. Here the lock and the list are out of reach, and the list owns its items.
///
/// WDK: "Singly and Doubly Linked Lists".
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
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct InterlockedList<I: ListItem> {
    #[pin]
    head: UnsafeCell<nt::LIST_ENTRY>,
    #[pin]
    lock: RawSpinLock,
    place: Place,
    // Owns items, and is invariant: what it takes in by a shared reference is what it gives back.
    _items: PhantomData<UnsafeCell<I>>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the head is only reached by the routines, under the lock. Items are handed from thread to thread, which
// every `ListItem` allows: it is `Send`.
unsafe impl<I: ListItem> Sync for InterlockedList<I> {}
// SAFETY: as above.
unsafe impl<I: ListItem> Send for InterlockedList<I> {}

impl<I: ListItem> InterlockedList<I> {
    /// Initialises an empty list and its lock (`InitializeListHead`, `KeInitializeSpinLock`).
    ///
    /// # IRQL
    /// Any.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(&this in Self {
            head <- empty(),
            lock <- RawSpinLock::new(),
            place: Place::of(this),
            _items: PhantomData,
            _pinned: PhantomPinned,
        })
    }

    /// Inserts an item at the head, and says which was the first before; `None` if the list was empty
    /// (`ExInterlockedInsertHeadList`).
    ///
    /// WDK: "`ExInterlockedInsertHeadList` function".
    ///
    /// # IRQL
    /// Any.
    pub fn insert_head(&self, item: I) -> Option<EntryId> {
        let (head, lock) = (self.head.get(), self.lock.raw());
        // SAFETY: the head and the lock were initialised where they are, and serve nothing else. The item is
        // given up, so its entry is on no list and stays until it is removed.
        let first =
            unsafe { nt::ExInterlockedInsertHeadList(head, item.into_entry().as_ptr(), lock) };
        EntryId::returned(first)
    }

    /// Inserts an item at the tail, and says which was the last before; `None` if the list was empty
    /// (`ExInterlockedInsertTailList`).
    ///
    /// WDK: "`ExInterlockedInsertTailList` function".
    ///
    /// # IRQL
    /// Any.
    pub fn insert_tail(&self, item: I) -> Option<EntryId> {
        let (head, lock) = (self.head.get(), self.lock.raw());
        // SAFETY: as in `insert_head`.
        let last =
            unsafe { nt::ExInterlockedInsertTailList(head, item.into_entry().as_ptr(), lock) };
        EntryId::returned(last)
    }

    /// Removes the item at the head; `None` if the list is empty (`ExInterlockedRemoveHeadList`).
    ///
    /// WDK: "`ExInterlockedRemoveHeadList` function".
    ///
    /// # IRQL
    /// Any.
    pub fn remove_head(&self) -> Option<I> {
        // SAFETY: the head and the lock were initialised where they are, and serve nothing else.
        let entry = unsafe { nt::ExInterlockedRemoveHeadList(self.head.get(), self.lock.raw()) };
        // SAFETY: what is on the list came by `into_entry`, and this caller alone removed it.
        NonNull::new(entry).map(|entry| unsafe { I::from_entry(entry) })
    }
}

#[pinned_drop]
impl<I: ListItem> PinnedDrop for InterlockedList<I> {
    fn drop(self: Pin<&mut Self>) {
        self.place.check(self.as_ref().get_ref());
        while self.remove_head().is_some() {}
    }
}

/// The initialiser of the list head, in its place.
fn empty() -> impl PinInit<UnsafeCell<nt::LIST_ENTRY>> {
    let initialise = |slot: *mut UnsafeCell<nt::LIST_ENTRY>| {
        // SAFETY: the slot is valid for writes, and the list head stays there.
        unsafe { nt::list::InitializeListHead(UnsafeCell::raw_get(slot)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}

/// A singly linked list, last in, first out, that owns the items on it (`SINGLE_LIST_ENTRY`,
/// `ExInterlockedPushEntryList`, `ExInterlockedPopEntryList`).
///
/// As an [`InterlockedList`] of half the links. It is no `SLIST_HEADER`, whose routines are others.
///
/// WDK: "Singly and Doubly Linked Lists".
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
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct InterlockedStack<I: ListItem> {
    #[pin]
    head: UnsafeCell<nt::SINGLE_LIST_ENTRY>,
    #[pin]
    lock: RawSpinLock,
    // Owns items, and is invariant: what it takes in by a shared reference is what it gives back.
    _items: PhantomData<UnsafeCell<I>>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: the head is only reached by the routines, under the lock. Items are handed from thread to thread, which
// every `ListItem` allows: it is `Send`.
unsafe impl<I: ListItem> Sync for InterlockedStack<I> {}
// SAFETY: as above.
unsafe impl<I: ListItem> Send for InterlockedStack<I> {}

impl<I: ListItem> InterlockedStack<I> {
    /// Initialises an empty stack and its lock (`KeInitializeSpinLock`).
    ///
    /// # IRQL
    /// Any.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            head: UnsafeCell::new(nt::SINGLE_LIST_ENTRY { Next: null_mut() }),
            lock <- RawSpinLock::new(),
            _items: PhantomData,
            _pinned: PhantomPinned,
        })
    }

    /// Pushes an item, and says which was on top before; `None` if the stack was empty
    /// (`ExInterlockedPushEntryList`).
    ///
    /// WDK: "`ExInterlockedPushEntryList` function".
    ///
    /// # IRQL
    /// Any.
    pub fn push(&self, item: I) -> Option<EntryId> {
        let (head, entry) = (self.head.get(), item.into_entry().as_ptr().cast());
        // SAFETY: the head and the lock were initialised where they are, and serve nothing else. The item is
        // given up, so its entry is on no list and stays until it is popped.
        let top = unsafe { nt::ExInterlockedPushEntryList(head, entry, self.lock.raw()) };
        EntryId::returned(top)
    }

    /// Pops the item on top; `None` if the stack is empty (`ExInterlockedPopEntryList`).
    ///
    /// WDK: "`ExInterlockedPopEntryList` function".
    ///
    /// # IRQL
    /// Any.
    pub fn pop(&self) -> Option<I> {
        // SAFETY: the head and the lock were initialised where they are, and serve nothing else.
        let entry = unsafe { nt::ExInterlockedPopEntryList(self.head.get(), self.lock.raw()) };
        // SAFETY: what is on the stack came by `into_entry`, and this caller alone popped it.
        NonNull::new(entry).map(|entry| unsafe { I::from_entry(entry.cast()) })
    }
}

#[pinned_drop]
impl<I: ListItem> PinnedDrop for InterlockedStack<I> {
    fn drop(self: Pin<&mut Self>) {
        while self.pop().is_some() {}
    }
}
