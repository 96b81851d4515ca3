//! The items of interlocked lists.

use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use pinned_init::{Init, try_init};

use crate::ex::zone::ZoneBox;

/// A value with a list entry (`LIST_ENTRY`).
///
/// The owner of a node, such as a [`ZoneBox`], is inserted into an [`InterlockedList`](crate::InterlockedList) or
/// an [`InterlockedStack`](crate::InterlockedStack), and returned when it is removed. The list owns it while it is
/// linked, so it is on one list at a time and cannot be freed there.
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedList, Node, ZoneBox};
///
/// /// Removes the first event and returns its code.
/// fn next(events: &InterlockedList<ZoneBox<Node<u32>>>) -> Option<u32> {
///     events.remove_head().map(|event| **event)
/// }
/// ```
#[doc(alias = "LIST_ENTRY")]
#[repr(C)]
pub struct Node<T> {
    entry: UnsafeCell<nt::LIST_ENTRY>,
    value: T,
}

const UNLINKED: nt::LIST_ENTRY = nt::LIST_ENTRY {
    Flink: core::ptr::null_mut(),
    Blink: core::ptr::null_mut(),
};

// SAFETY: only a list's routines access the entry, while the list owns the node.
unsafe impl<T: Sync> Sync for Node<T> {}
// SAFETY: as above; a node that moves to another thread is on no list.
unsafe impl<T: Send> Send for Node<T> {}

impl<T> Node<T> {
    /// Makes a node that is on no list.
    ///
    /// # IRQL
    /// Any.
    pub const fn new(value: T) -> Self {
        Self {
            entry: UnsafeCell::new(UNLINKED),
            value,
        }
    }

    /// Initialises a node that is on no list, with an in-place initialiser of its value.
    ///
    /// # IRQL
    /// Any.
    pub fn init<E>(value: impl Init<T, E>) -> impl Init<Self, E> {
        try_init!(Self {
            entry: UnsafeCell::new(UNLINKED),
            value <- value,
        }? E)
    }
}

impl<T> Deref for Node<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Node<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// An owner that an interlocked list can link: a [`ZoneBox`] of a [`Node`], or a [`PendedIrp`](crate::PendedIrp).
///
/// # IRQL
/// The lists call the methods at any IRQL.
///
/// # Safety
/// [`ListItem::into_entry`] gives up the owner for an entry that does not move and that no other code accesses
/// until [`ListItem::from_entry`] makes the owner again. [`ListItem::entry`] returns the address of that entry.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be linked into an interlocked list",
    note = "the items of a list are `ZoneBox<Node<T>>` or `PendedIrp`: owners with a list entry"
)]
pub unsafe trait ListItem: Send {
    /// Returns the address of the item's entry, for comparison only.
    fn entry(&self) -> NonNull<nt::LIST_ENTRY>;

    /// Gives up the owner for its entry.
    fn into_entry(self) -> NonNull<nt::LIST_ENTRY>;

    /// Makes the owner again from its entry.
    ///
    /// # Safety
    /// `entry` came from [`ListItem::into_entry`] and is on no list, and this is called once for it.
    unsafe fn from_entry(entry: NonNull<nt::LIST_ENTRY>) -> Self;
}

// SAFETY: the block does not move, and only its owner accesses it.
unsafe impl<T: Send> ListItem for ZoneBox<Node<T>> {
    fn entry(&self) -> NonNull<nt::LIST_ENTRY> {
        self.as_non_null().cast()
    }

    fn into_entry(self) -> NonNull<nt::LIST_ENTRY> {
        const {
            assert!(
                offset_of!(Node<T>, entry) == 0,
                "a node starts with its entry"
            );
        };
        self.into_non_null().cast()
    }

    unsafe fn from_entry(entry: NonNull<nt::LIST_ENTRY>) -> Self {
        // SAFETY: the entry is the first field of the node that `into_entry` was called for.
        unsafe { Self::from_non_null(entry.cast()) }
    }
}
