//! `LIST_ENTRY`, the doubly linked list, and the WDK's inline functions for it.

use crate::{
    FAST_FAIL_CORRUPT_LIST_ENTRY, KERNEL_SECURITY_CHECK_FAILURE, KeBugCheckEx, LIST_ENTRY,
    model::{Inline, before},
};

/// Initialises a list head as empty, or links an entry to itself.
///
/// # Safety
/// `entry` is valid for writes and on no list.
pub unsafe fn InitializeListHead(entry: *mut LIST_ENTRY) {
    before(Inline::InitializeListHead, entry.cast());
    // SAFETY: the caller passes an entry that is valid for writes.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: entry,
            Blink: entry,
        });
    }
}

/// Returns whether a list is empty, or an entry is linked to itself.
///
/// # Safety
/// `entry` was initialised, and no other thread changes its list during the call.
#[must_use]
pub unsafe fn IsListEmpty(entry: *const LIST_ENTRY) -> bool {
    // SAFETY: the caller passes an initialised entry of a list that does not change.
    let next = unsafe { (*entry).Flink };
    core::ptr::eq(next, entry)
}

/// Inserts an entry at the tail of a list.
///
/// # Safety
/// No other thread accesses the list of `head` during the call. `entry` is valid for writes, is on no list, and
/// does not move until it is removed.
pub unsafe fn InsertTailList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    before(Inline::InsertEntry, entry.cast());
    before(Inline::InsertTailList, head.cast());
    // SAFETY: the caller passes an initialised list that no other thread accesses.
    let last = unsafe { (*head).Blink };
    // SAFETY: every entry of a list is alive while it is linked.
    let after_last = unsafe { (*last).Flink };
    if after_last != head {
        corrupt(head);
    }
    // SAFETY: the caller passes an entry that is valid for writes and on no list.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: head,
            Blink: last,
        });
    }
    // SAFETY: as for the read of `last` above.
    unsafe { (*last).Flink = entry };
    // SAFETY: the caller passes a list that no other thread accesses.
    unsafe { (*head).Blink = entry };
}

/// Inserts an entry at the head of a list.
///
/// # Safety
/// As for [`InsertTailList`].
pub unsafe fn InsertHeadList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    before(Inline::InsertEntry, entry.cast());
    before(Inline::InsertHeadList, head.cast());
    // SAFETY: the caller passes an initialised list that no other thread accesses.
    let first = unsafe { (*head).Flink };
    // SAFETY: every entry of a list is alive while it is linked.
    let before_first = unsafe { (*first).Blink };
    if before_first != head {
        corrupt(head);
    }
    // SAFETY: the caller passes an entry that is valid for writes and on no list.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: first,
            Blink: head,
        });
    }
    // SAFETY: as for the read of `first` above.
    unsafe { (*first).Blink = entry };
    // SAFETY: the caller passes a list that no other thread accesses.
    unsafe { (*head).Flink = entry };
}

/// Removes an entry from its list and leaves the entry's own links unchanged.
///
/// # Safety
/// `entry` is on a list or linked to itself, and no other thread accesses that list during the call.
pub unsafe fn RemoveEntryList(entry: *mut LIST_ENTRY) {
    before(Inline::RemoveEntryList, entry.cast());
    // SAFETY: the caller passes an initialised entry.
    let LIST_ENTRY { Flink, Blink } = unsafe { entry.read() };
    // SAFETY: every entry of a list is alive while it is linked.
    let back = unsafe { (*Flink).Blink };
    // SAFETY: as above.
    let forth = unsafe { (*Blink).Flink };
    if back != entry || forth != entry {
        corrupt(entry);
    }
    // SAFETY: as above, and no other thread accesses the list.
    unsafe { (*Blink).Flink = Flink };
    // SAFETY: as above.
    unsafe { (*Flink).Blink = Blink };
}

/// Stops the system, as the WDK's inline functions do if a neighbour does not point back to the entry.
fn corrupt(entry: *const LIST_ENTRY) -> ! {
    // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
    unsafe {
        KeBugCheckEx(
            KERNEL_SECURITY_CHECK_FAILURE,
            FAST_FAIL_CORRUPT_LIST_ENTRY,
            entry.addr() as u64,
            0,
            0,
        )
    }
}
