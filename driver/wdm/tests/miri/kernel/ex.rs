//! Interlocked lists and variables, and zones.

use core::{ffi::c_void, ptr::null_mut};

use nt::{
    KSPIN_LOCK, LIST_ENTRY, SINGLE_LIST_ENTRY, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL, ZONE_HEADER, ZONE_SEGMENT_HEADER,
    list::{InsertHeadList, InsertTailList, RemoveEntryList},
};

use super::{
    irql::{lower, raise, with_lock},
    routines,
};

/// Returns an entry, or NULL if it is the list's head.
fn but_head(entry: *mut LIST_ENTRY, head: *mut LIST_ENTRY) -> *mut LIST_ENTRY {
    if entry == head { null_mut() } else { entry }
}

/// Pushes an entry; returns the previous first one.
///
/// # Safety
/// Both are valid, and no other thread uses the list.
unsafe fn push(
    head: *mut SINGLE_LIST_ENTRY,
    entry: *mut SINGLE_LIST_ENTRY,
) -> *mut SINGLE_LIST_ENTRY {
    // SAFETY: guaranteed by the caller.
    let first = unsafe { (*head).Next };
    // SAFETY: as above.
    unsafe { entry.write(SINGLE_LIST_ENTRY { Next: first }) };
    // SAFETY: as above.
    unsafe { (*head).Next = entry };
    first
}

/// Divides a segment into blocks and frees them.
///
/// # Safety
/// The zone was initialised, the segment is valid for writes and stays valid, and no other thread uses the zone.
unsafe fn extend(zone: *mut ZONE_HEADER, segment: *mut c_void, size: u32) -> i32 {
    // SAFETY: guaranteed by the caller.
    let block_size = unsafe { (*zone).BlockSize };
    if !segment.addr().is_multiple_of(8) || !size.is_multiple_of(8) || block_size > size {
        return STATUS_UNSUCCESSFUL;
    }
    // SAFETY: only the address is computed.
    let segments = unsafe { &raw mut (*zone).SegmentList };
    // SAFETY: guaranteed by the caller; the segment starts with the entry.
    unsafe { push(segments, segment.cast()) };
    // SAFETY: only the address is computed.
    let free = unsafe { &raw mut (*zone).FreeList };
    let header = u32::try_from(size_of::<ZONE_SEGMENT_HEADER>()).unwrap_or(u32::MAX);
    let mut offset = header;
    while offset + block_size <= size {
        let block = segment.wrapping_byte_add(offset as usize);
        // SAFETY: the block is inside the segment.
        unsafe { push(free, block.cast()) };
        offset += block_size;
    }
    // SAFETY: guaranteed by the caller.
    unsafe { (*zone).TotalSegmentSize += offset };
    STATUS_SUCCESS
}

routines! {
    fn ExInterlockedInsertHeadList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY, lock: *mut KSPIN_LOCK) -> *mut LIST_ENTRY {
        let insert = || {
            // SAFETY: the lock is held, and the list was initialised.
            let first = unsafe { (*head).Flink };
            // SAFETY: as above; the caller passes an entry that is on no list.
            unsafe { InsertHeadList(head, entry) };
            but_head(first, head)
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, insert) }
    }

    fn ExInterlockedInsertTailList(head: *mut LIST_ENTRY, entry: *mut LIST_ENTRY, lock: *mut KSPIN_LOCK) -> *mut LIST_ENTRY {
        let insert = || {
            // SAFETY: the lock is held, and the list was initialised.
            let last = unsafe { (*head).Blink };
            // SAFETY: as above; the caller passes an entry that is on no list.
            unsafe { InsertTailList(head, entry) };
            but_head(last, head)
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, insert) }
    }

    fn ExInterlockedRemoveHeadList(head: *mut LIST_ENTRY, lock: *mut KSPIN_LOCK) -> *mut LIST_ENTRY {
        let remove = || {
            // SAFETY: the lock is held, and the list was initialised.
            let first = but_head(unsafe { (*head).Flink }, head);
            if !first.is_null() {
                // SAFETY: as above.
                unsafe { RemoveEntryList(first) };
            }
            first
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, remove) }
    }

    fn ExInterlockedPushEntryList(
        head: *mut SINGLE_LIST_ENTRY,
        entry: *mut SINGLE_LIST_ENTRY,
        lock: *mut KSPIN_LOCK,
    ) -> *mut SINGLE_LIST_ENTRY {
        // SAFETY: the lock is held; the caller passes a list, and an entry that is on none.
        let insert = || unsafe { push(head, entry) };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, insert) }
    }

    fn ExInterlockedPopEntryList(head: *mut SINGLE_LIST_ENTRY, lock: *mut KSPIN_LOCK) -> *mut SINGLE_LIST_ENTRY {
        let remove = || {
            // SAFETY: the lock is held.
            let first = unsafe { (*head).Next };
            if !first.is_null() {
                // SAFETY: as above; an entry is there as long as it is on a list.
                let next = unsafe { (*first).Next };
                // SAFETY: as above.
                unsafe { (*head).Next = next };
            }
            first
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, remove) }
    }

    fn ExInterlockedAddUlong(number: *mut u32, increment: u32, lock: *mut KSPIN_LOCK) -> u32 {
        let add = || {
            // SAFETY: the lock is held.
            let old = unsafe { number.read() };
            // SAFETY: as above.
            unsafe { number.write(old.wrapping_add(increment)) };
            old
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, add) }
    }

    fn ExInterlockedAddLargeInteger(number: *mut i64, increment: i64, lock: *mut KSPIN_LOCK) -> i64 {
        let add = || {
            // SAFETY: the lock is held.
            let old = unsafe { number.read() };
            // SAFETY: as above.
            unsafe { number.write(old.wrapping_add(increment)) };
            old
        };
        // SAFETY: the caller passes an initialised lock.
        unsafe { with_lock(lock, add) }
    }

    fn ExInitializeZone(zone: *mut ZONE_HEADER, block_size: u32, segment: *mut c_void, size: u32) -> i32 {
        if !block_size.is_multiple_of(8) {
            return STATUS_INVALID_PARAMETER;
        }
        let empty = SINGLE_LIST_ENTRY { Next: null_mut() };
        let header = ZONE_HEADER {
            FreeList: empty,
            SegmentList: empty,
            BlockSize: block_size,
            TotalSegmentSize: 0,
        };
        // SAFETY: the caller passes valid memory for the zone.
        unsafe { zone.write(header) };
        // SAFETY: guaranteed by the caller.
        unsafe { extend(zone, segment, size) }
    }

    fn ExExtendZone(zone: *mut ZONE_HEADER, segment: *mut c_void, size: u32) -> i32 {
        // SAFETY: guaranteed by the caller.
        unsafe { extend(zone, segment, size) }
    }

    fn ExInterlockedExtendZone(zone: *mut ZONE_HEADER, segment: *mut c_void, size: u32, lock: *mut KSPIN_LOCK) -> i32 {
        let old_irql = raise();
        // SAFETY: guaranteed by the caller; the lock is held.
        let extend = || unsafe { extend(zone, segment, size) };
        // SAFETY: the caller passes an initialised lock.
        let status = unsafe { with_lock(lock, extend) };
        lower(old_irql);
        status
    }
}
