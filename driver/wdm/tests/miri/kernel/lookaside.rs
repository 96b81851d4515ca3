//! Sequenced lists and lookaside lists.

use core::{cell::UnsafeCell, ffi::c_void, ptr::null_mut, sync::atomic::AtomicU16};
use std::sync::Mutex;

use nt::{
    LIST_ENTRY, LOOKASIDE_LIST_EX, PALLOCATE_FUNCTION_EX, PFREE_FUNCTION_EX, SLIST_ENTRY,
    SLIST_HEADER, STATUS_SUCCESS,
};

use super::{free, lock, make, routines};

/// Locked while a list is read or changed.
static LISTS: Mutex<()> = Mutex::new(());

/// The contents of an `SLIST_HEADER`.
#[repr(C, align(16))]
struct Head {
    first: *mut SLIST_ENTRY,
    depth: u64,
}

const _: () = assert!(size_of::<Head>() == size_of::<SLIST_HEADER>());

/// The memory of a block, which is large enough for those of the tests.
type Memory = [u128; 8];

unsafe extern "C" fn allocate(
    _kind: i32,
    size: usize,
    _tag: u32,
    _list: *mut LOOKASIDE_LIST_EX,
) -> *mut c_void {
    assert!(size <= size_of::<Memory>(), "a block of {size} bytes");
    let memory: Memory = [u128::MAX; 8];
    make(memory).cast()
}

unsafe extern "C" fn free_block(block: *mut c_void, _list: *mut LOOKASIDE_LIST_EX) {
    // SAFETY: `allocate` has made the block, which is no longer used.
    unsafe { free(block.cast::<Memory>()) };
}

routines! {
    fn ExInitializeLookasideListEx(
        list: *mut LOOKASIDE_LIST_EX,
        _allocate: PALLOCATE_FUNCTION_EX,
        _free: PFREE_FUNCTION_EX,
        kind: i32,
        _flags: u32,
        size: usize,
        tag: u32,
        _depth: u16,
    ) -> i32 {
        let new = LOOKASIDE_LIST_EX {
            ListHead: UnsafeCell::new(SLIST_HEADER { Reserved: [0; 2] }),
            Depth: AtomicU16::new(4),
            MaximumDepth: 4,
            TotalAllocates: 0.into(),
            AllocateMisses: 0.into(),
            TotalFrees: 0.into(),
            FreeMisses: 0.into(),
            Type: kind,
            Tag: tag,
            Size: u32::try_from(size).expect("a small block"),
            AllocateEx: Some(allocate),
            FreeEx: Some(free_block),
            ListEntry: UnsafeCell::new(LIST_ENTRY { Flink: null_mut(), Blink: null_mut() }),
            LastTotalAllocates: 0.into(),
            LastAllocateMisses: 0.into(),
            Future: [0; 2],
        };
        // SAFETY: the caller passes valid memory for the list.
        unsafe { list.write(new) };
        STATUS_SUCCESS
    }

    fn ExDeleteLookasideListEx(list: *mut LOOKASIDE_LIST_EX) {
        // SAFETY: the caller passes a list, which is no longer used.
        let head = unsafe { (*list).ListHead.get() };
        loop {
            // SAFETY: as above.
            let block = unsafe { nt::ExpInterlockedPopEntrySList(head) };
            if block.is_null() {
                return;
            }
            // SAFETY: the list has kept the block.
            unsafe { free_block(block.cast(), list) };
        }
    }

    fn ExpInterlockedPushEntrySList(head: *mut SLIST_HEADER, entry: *mut SLIST_ENTRY) -> *mut SLIST_ENTRY {
        assert!(entry.is_aligned() && head.is_aligned());
        let _held = lock(&LISTS);
        // SAFETY: the caller passes an initialised head; the mutex is locked. The same holds for all blocks below.
        let head = unsafe { &mut *head.cast::<Head>() };
        // SAFETY: the caller gives up the entry.
        unsafe { (*entry).Next = head.first };
        head.depth += 1;
        core::mem::replace(&mut head.first, entry)
    }

    fn ExpInterlockedPopEntrySList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
        let _held = lock(&LISTS);
        // SAFETY: as above.
        let head = unsafe { &mut *head.cast::<Head>() };
        let first = head.first;
        if !first.is_null() {
            // SAFETY: the entry is on the list.
            head.first = unsafe { (*first).Next };
            head.depth -= 1;
        }
        first
    }

    fn ExpInterlockedFlushSList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
        let _held = lock(&LISTS);
        // SAFETY: as above.
        let head = unsafe { &mut *head.cast::<Head>() };
        head.depth = 0;
        core::mem::replace(&mut head.first, null_mut())
    }

    fn ExQueryDepthSList(head: *mut SLIST_HEADER) -> u16 {
        let _held = lock(&LISTS);
        // SAFETY: as above.
        let depth = unsafe { (*head.cast::<Head>()).depth };
        u16::try_from(depth).unwrap_or(u16::MAX)
    }
}
