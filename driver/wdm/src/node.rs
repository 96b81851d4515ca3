//! What can be linked into an interlocked list.

use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ops::{Deref, DerefMut},
};

use crate::{PendedIrp, Record, zone::ZoneBox};

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

// SAFETY: the entry is only touched by a list's routines, while the list owns the node.
unsafe impl<T: Sync> Sync for Node<T> {}
// SAFETY: as above; a node that moves to another thread is on no list.
unsafe impl<T: Send> Send for Node<T> {}

impl<T> Node<T> {
    /// Makes a node that is on no list.
    pub const fn new(value: T) -> Self {
        let entry = nt::LIST_ENTRY {
            Flink: core::ptr::null_mut(),
            Blink: core::ptr::null_mut(),
        };
        Self {
            entry: UnsafeCell::new(entry),
            value,
        }
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

/// An owner of something that an interlocked list can link: a [`ZoneBox`] of a [`Node`], or a [`PendedIrp`].
///
/// # Safety
///
/// [`ListItem::into_entry`] gives up the owner for an entry that stays where it is, and that nobody else
/// touches, until [`ListItem::from_entry`] makes the owner again. [`ListItem::entry`] gives its address before.
pub unsafe trait ListItem: Send {
    /// Where the item is linked by; nobody touches it by this.
    fn entry(&self) -> *mut nt::LIST_ENTRY;

    /// Gives the owner up.
    fn into_entry(self) -> *mut nt::LIST_ENTRY;

    /// Makes the owner again.
    ///
    /// # Safety
    /// `entry` came from [`ListItem::into_entry`], is linked nowhere, and this is called for it once.
    unsafe fn from_entry(entry: *mut nt::LIST_ENTRY) -> Self;
}

// SAFETY: the block stays in its zone, and its owner alone touches it.
unsafe impl<T: Send> ListItem for ZoneBox<Node<T>> {
    fn entry(&self) -> *mut nt::LIST_ENTRY {
        self.entry.get()
    }

    fn into_entry(self) -> *mut nt::LIST_ENTRY {
        let node = self.into_value_ptr();
        // SAFETY: the address alone is computed, inside the node.
        unsafe { &raw mut (*node).entry }.cast()
    }

    unsafe fn from_entry(entry: *mut nt::LIST_ENTRY) -> Self {
        const {
            assert!(
                offset_of!(Node<T>, entry) == 0,
                "a node starts with its entry"
            );
        };
        // SAFETY: the entry is the first thing in the node that `into_entry` was called for.
        unsafe { Self::from_value_ptr(entry.cast()) }
    }
}

// SAFETY: the IRP stays where it is until it is completed, and its list entry is the driver's.
unsafe impl<R: Record> ListItem for PendedIrp<R> {
    fn entry(&self) -> *mut nt::LIST_ENTRY {
        nt::irp::list_entry(self.raw())
    }

    fn into_entry(self) -> *mut nt::LIST_ENTRY {
        nt::irp::list_entry(self.into_raw())
    }

    unsafe fn from_entry(entry: *mut nt::LIST_ENTRY) -> Self {
        // SAFETY: the entry is an IRP's, by `into_entry`.
        let irp = unsafe { nt::irp::from_list_entry(entry) };
        // SAFETY: the IRP was owned until then, and by nobody since.
        unsafe { Self::from_raw(irp) }
    }
}
