//! What can be linked into an interlocked list.

use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use pinned_init::{Init, try_init};

use crate::ex::zone::ZoneBox;

/// A value with room for the link of a list.
///
/// What owns a node, such as a [`ZoneBox`], can be given to an [`InterlockedList`](crate::InterlockedList)
/// or an [`InterlockedStack`](crate::InterlockedStack), and comes back when it is removed. While it is linked
/// nobody else has it; so it is on one list at a time, and cannot be freed there.
#[repr(C)]
pub struct Node<T> {
    entry: UnsafeCell<nt::LIST_ENTRY>,
    value: T,
}

const UNLINKED: nt::LIST_ENTRY = nt::LIST_ENTRY {
    Flink: core::ptr::null_mut(),
    Blink: core::ptr::null_mut(),
};

// SAFETY: the entry is only touched by a list's routines, while the list owns the node.
unsafe impl<T: Sync> Sync for Node<T> {}
// SAFETY: as above; a node that moves to another thread is on no list.
unsafe impl<T: Send> Send for Node<T> {}

impl<T> Node<T> {
    /// Makes a node that is on no list.
    pub const fn new(value: T) -> Self {
        Self {
            entry: UnsafeCell::new(UNLINKED),
            value,
        }
    }

    /// Initialises a node that is on no list, with a value that is made in its place.
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

/// An owner of something that an interlocked list can link: a [`ZoneBox`] of a [`Node`], or a
/// [`PendedIrp`](crate::PendedIrp).
///
/// # Safety
///
/// [`ListItem::into_entry`] gives up the owner for an entry that stays where it is, and that nobody else
/// touches, until [`ListItem::from_entry`] makes the owner again. [`ListItem::entry`] gives its address before.
pub unsafe trait ListItem: Send {
    /// Where the item is linked by; nobody touches it by this.
    fn entry(&self) -> NonNull<nt::LIST_ENTRY>;

    /// Gives the owner up.
    fn into_entry(self) -> NonNull<nt::LIST_ENTRY>;

    /// Makes the owner again.
    ///
    /// # Safety
    /// `entry` came from [`ListItem::into_entry`], is linked nowhere, and this is called for it once.
    unsafe fn from_entry(entry: NonNull<nt::LIST_ENTRY>) -> Self;
}

// SAFETY: the block stays in its zone, and its owner alone touches it.
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
        // SAFETY: the entry is the first thing in the node that `into_entry` was called for.
        unsafe { Self::from_non_null(entry.cast()) }
    }
}
