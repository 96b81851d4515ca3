//! Device queues.

use core::{mem::offset_of, ptr::null_mut};

use nt::{
    DISPATCH_LEVEL, KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY, KSPIN_LOCK, LIST_ENTRY,
    list::{InitializeListHead, InsertTailList, RemoveEntryList},
};

use super::{
    irql::{current, lower, raise, with_lock},
    routines,
};

/// The contents of a `KDEVICE_QUEUE`.
#[repr(C)]
struct Queue {
    kind: u64,
    head: LIST_ENTRY,
    lock: KSPIN_LOCK,
    busy: bool,
}

/// The contents of a `KDEVICE_QUEUE_ENTRY`.
#[repr(C)]
struct Entry {
    link: LIST_ENTRY,
    key: u32,
    inserted: bool,
}

const _: () = assert!(size_of::<Queue>() == size_of::<KDEVICE_QUEUE>());
const _: () = assert!(size_of::<Entry>() == size_of::<KDEVICE_QUEUE_ENTRY>());
const _: () = assert!(offset_of!(Entry, link) == 0);

/// Runs a closure with a queue's lock held. The closure gets the queue and the head of its list.
///
/// # Safety
/// `queue` was initialised.
unsafe fn with_queue<R>(
    queue: *mut KDEVICE_QUEUE,
    f: impl FnOnce(*mut Queue, *mut LIST_ENTRY) -> R,
) -> R {
    let queue = queue.cast::<Queue>();
    // SAFETY: only the address is computed.
    let lock = unsafe { &raw mut (*queue).lock };
    // SAFETY: as above.
    let head = unsafe { &raw mut (*queue).head };
    let old_irql = raise();
    // SAFETY: guaranteed by the caller.
    let result = unsafe { with_lock(lock, || f(queue, head)) };
    lower(old_irql);
    result
}

/// The first entry whose key is at least `key`, or the head.
///
/// # Safety
/// The queue's lock is held.
unsafe fn first_from(head: *mut LIST_ENTRY, key: u32) -> *mut LIST_ENTRY {
    // SAFETY: guaranteed by the caller.
    let mut link = unsafe { (*head).Flink };
    // SAFETY: as above; an entry starts with its link.
    while link != head && unsafe { (*link.cast::<Entry>()).key } < key {
        // SAFETY: as above.
        link = unsafe { (*link).Flink };
    }
    link
}

/// Inserts an entry, or makes the queue busy.
///
/// # Safety
/// The queue was initialised, and the entry is on no queue.
unsafe fn insert(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
    key: Option<u32>,
) -> u8 {
    assert_eq!(current(), DISPATCH_LEVEL, "inserted below DISPATCH_LEVEL");
    let entry = entry.cast::<Entry>();
    let insert = |queue: *mut Queue, head: *mut LIST_ENTRY| {
        // SAFETY: the lock is held.
        let busy = unsafe { core::mem::replace(&mut (*queue).busy, true) };
        // SAFETY: as above, and the entry is the caller's.
        unsafe { (*entry).inserted = busy };
        if let Some(key) = key {
            // SAFETY: as above.
            unsafe { (*entry).key = key };
        }
        if busy {
            let before = match key.and_then(|key| key.checked_add(1)) {
                // After all entries whose keys are not larger.
                // SAFETY: as above.
                Some(next) => unsafe { first_from(head, next) },
                None => head,
            };
            // SAFETY: as above. At the tail before an entry is before it.
            unsafe { InsertTailList(before, entry.cast()) };
        }
        u8::from(busy)
    };
    // SAFETY: guaranteed by the caller.
    unsafe { with_queue(queue, insert) }
}

/// Removes the first entry, or the first entry with at least a key.
///
/// # Safety
/// The queue was initialised.
unsafe fn remove(queue: *mut KDEVICE_QUEUE, key: u32, if_busy: bool) -> *mut KDEVICE_QUEUE_ENTRY {
    assert_eq!(current(), DISPATCH_LEVEL, "removed below DISPATCH_LEVEL");
    let remove = |queue: *mut Queue, head: *mut LIST_ENTRY| {
        // SAFETY: the lock is held.
        let busy = unsafe { (*queue).busy };
        assert!(busy || if_busy, "removed from a queue that is not busy");
        // SAFETY: as above.
        let mut link = unsafe { first_from(head, key) };
        if link == head {
            // SAFETY: as above.
            link = unsafe { (*head).Flink };
        }
        if link == head {
            // SAFETY: as above.
            unsafe { (*queue).busy = false };
            return null_mut();
        }
        // SAFETY: as above, and the entry is on the list.
        unsafe { RemoveEntryList(link) };
        // SAFETY: as above.
        unsafe { (*link.cast::<Entry>()).inserted = false };
        link.cast()
    };
    // SAFETY: guaranteed by the caller.
    unsafe { with_queue(queue, remove) }
}

routines! {
    fn KeInitializeDeviceQueue(queue: *mut KDEVICE_QUEUE) {
        let link = LIST_ENTRY { Flink: null_mut(), Blink: null_mut() };
        let new = Queue { kind: 0, head: link, lock: nt::SPIN_LOCK_FREE, busy: false };
        // SAFETY: the caller passes valid memory for the queue.
        unsafe { queue.cast::<Queue>().write(new) };
        // SAFETY: only the address is computed.
        let head = unsafe { &raw mut (*queue.cast::<Queue>()).head };
        // SAFETY: the head does not move.
        unsafe { InitializeListHead(head) };
    }

    fn KeInsertDeviceQueue(queue: *mut KDEVICE_QUEUE, entry: *mut KDEVICE_QUEUE_ENTRY) -> u8 {
        // SAFETY: guaranteed by the caller.
        unsafe { insert(queue, entry, None) }
    }

    fn KeInsertByKeyDeviceQueue(queue: *mut KDEVICE_QUEUE, entry: *mut KDEVICE_QUEUE_ENTRY, key: u32) -> u8 {
        // SAFETY: guaranteed by the caller.
        unsafe { insert(queue, entry, Some(key)) }
    }

    fn KeRemoveDeviceQueue(queue: *mut KDEVICE_QUEUE) -> *mut KDEVICE_QUEUE_ENTRY {
        // SAFETY: guaranteed by the caller.
        unsafe { remove(queue, 0, false) }
    }

    fn KeRemoveByKeyDeviceQueue(queue: *mut KDEVICE_QUEUE, key: u32) -> *mut KDEVICE_QUEUE_ENTRY {
        // SAFETY: guaranteed by the caller.
        unsafe { remove(queue, key, false) }
    }

    fn KeRemoveByKeyDeviceQueueIfBusy(queue: *mut KDEVICE_QUEUE, key: u32) -> *mut KDEVICE_QUEUE_ENTRY {
        // SAFETY: guaranteed by the caller.
        unsafe { remove(queue, key, true) }
    }

    fn KeRemoveEntryDeviceQueue(queue: *mut KDEVICE_QUEUE, entry: *mut KDEVICE_QUEUE_ENTRY) -> u8 {
        let entry = entry.cast::<Entry>();
        let remove = |_: *mut Queue, _: *mut LIST_ENTRY| {
            // SAFETY: the lock is held.
            let inserted = unsafe { core::mem::replace(&mut (*entry).inserted, false) };
            if inserted {
                // SAFETY: as above, and the entry is on the list.
                unsafe { RemoveEntryList(entry.cast()) };
            }
            u8::from(inserted)
        };
        // SAFETY: guaranteed by the caller.
        unsafe { with_queue(queue, remove) }
    }
}
