//! `LIST_ENTRY`: the doubly linked list whose head and entries are alike, by the WDK's inlines.

use crate::{
    FAST_FAIL_CORRUPT_LIST_ENTRY, KERNEL_SECURITY_CHECK_FAILURE, KeBugCheckEx, LIST_ENTRY,
};

/// Makes a list head empty, or an entry one that is linked to itself alone.
///
/// # Safety
/// `entry` is valid for writes and on no list.
pub unsafe fn InitializeListHead(entry: *mut LIST_ENTRY) {
    // SAFETY: the caller gives an entry that is valid for writes.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: entry,
            Blink: entry,
        });
    }
}

/// Whether a list is empty, or an entry linked to itself alone.
///
/// # Safety
/// `entry` was initialised, and nobody changes its list meanwhile.
#[must_use]
pub unsafe fn IsListEmpty(entry: *const LIST_ENTRY) -> bool {
    // SAFETY: the caller gives an initialised entry of a list that stands still.
    let next = unsafe { (*entry).Flink };
    core::ptr::eq(next, entry)
}

/// Links an entry in at the end of a list.
///
/// # Safety
/// `head` is a list that nobody else reads or changes meanwhile; `entry` is valid for writes, is on
/// no list, and stays where it is until it is removed.
pub unsafe fn InsertTailList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    // SAFETY: the caller gives an initialised list that is this caller's alone.
    let last = unsafe { (*head).Blink };
    // SAFETY: every entry of a list is alive while it is linked.
    let after_last = unsafe { (*last).Flink };
    if after_last != head {
        corrupt(head);
    }
    // SAFETY: the caller gives an entry that is valid for writes and on no list.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: head,
            Blink: last,
        });
    }
    // SAFETY: as for the read of `last` above.
    unsafe { (*last).Flink = entry };
    // SAFETY: the caller gives a list that is this caller's alone.
    unsafe { (*head).Blink = entry };
}

/// Links an entry in at the start of a list.
///
/// # Safety
/// As for [`InsertTailList`].
pub unsafe fn InsertHeadList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY) {
    // SAFETY: the caller gives an initialised list that is this caller's alone.
    let first = unsafe { (*head).Flink };
    // SAFETY: every entry of a list is alive while it is linked.
    let before_first = unsafe { (*first).Blink };
    if before_first != head {
        corrupt(head);
    }
    // SAFETY: the caller gives an entry that is valid for writes and on no list.
    unsafe {
        entry.write(LIST_ENTRY {
            Flink: first,
            Blink: head,
        });
    }
    // SAFETY: as for the read of `first` above.
    unsafe { (*first).Blink = entry };
    // SAFETY: the caller gives a list that is this caller's alone.
    unsafe { (*head).Flink = entry };
}

/// Takes an entry out of its list and links it to itself, so that taking it out again is harmless.
///
/// # Safety
/// `entry` is on a list, or linked to itself, and nobody else reads or changes that list meanwhile.
pub unsafe fn RemoveEntryList(entry: *mut LIST_ENTRY) {
    // SAFETY: guaranteed by the caller.
    unsafe { UnlinkEntry(entry) };
    // SAFETY: the entry is on no list any more.
    unsafe { InitializeListHead(entry) };
}

/// Takes an entry out of its list and leaves the entry as it is. This is the whole of the WDK's `RemoveEntryList`.
///
/// # Safety
/// As for [`RemoveEntryList`].
pub unsafe fn UnlinkEntry(entry: *mut LIST_ENTRY) {
    // SAFETY: the caller gives an initialised entry.
    let LIST_ENTRY { Flink, Blink } = unsafe { entry.read() };
    // SAFETY: every entry of a list is alive while it is linked.
    let back = unsafe { (*Flink).Blink };
    // SAFETY: as above.
    let forth = unsafe { (*Blink).Flink };
    if back != entry || forth != entry {
        corrupt(entry);
    }
    // SAFETY: as above, and the list is this caller's alone.
    unsafe { (*Blink).Flink = Flink };
    // SAFETY: as above.
    unsafe { (*Flink).Blink = Blink };
}

/// Stops the system as the WDK's inlines do when a neighbour does not point back.
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
