//! Sequenced lists and lookaside lists.

use core::{cell::UnsafeCell, ffi::c_void, ptr::null_mut};
use std::sync::{
    Mutex,
    atomic::{
        AtomicPtr, AtomicU16, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use nt::{
    LIST_ENTRY, LOOKASIDE_LIST_EX, PALLOCATE_FUNCTION_EX, PFREE_FUNCTION_EX, SLIST_ENTRY,
    SLIST_HEADER, STATUS_SUCCESS,
};

use super::{free, lock, make, routines};

/// Locked while a list is changed.
static LISTS: Mutex<()> = Mutex::new(());

/// The contents of an `SLIST_HEADER`.
#[repr(C, align(16))]
struct Head {
    first: AtomicPtr<SLIST_ENTRY>,
    depth: AtomicU64,
}

const _: () = assert!(size_of::<Head>() == size_of::<SLIST_HEADER>());

impl Head {
    /// # Safety
    /// The head was initialised, and is valid as long as the reference.
    unsafe fn of<'a>(head: *mut SLIST_HEADER) -> &'a Self {
        // SAFETY: guaranteed by the caller; only the routines here access the head.
        unsafe { &*head.cast() }
    }

    /// As in NT, a list that is empty is only read, without a barrier.
    fn is_empty(&self) -> bool {
        self.first.load(Relaxed).is_null()
    }
}

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
        // SAFETY: the caller passes an initialised head. The same holds for all blocks below.
        let head = unsafe { Head::of(head) };
        // SAFETY: the caller gives up the entry.
        unsafe { (*entry).Next = head.first.load(Relaxed) };
        head.depth.fetch_add(1, Relaxed);
        head.first.swap(entry, SeqCst)
    }

    fn ExpInterlockedPopEntrySList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
        // SAFETY: as above.
        let head = unsafe { Head::of(head) };
        if head.is_empty() {
            return null_mut();
        }
        let _held = lock(&LISTS);
        let first = head.first.load(Relaxed);
        if !first.is_null() {
            // SAFETY: the entry is on the list.
            head.first.swap(unsafe { (*first).Next }, SeqCst);
            head.depth.fetch_sub(1, Relaxed);
        }
        first
    }

    fn ExpInterlockedFlushSList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
        // SAFETY: as above.
        let head = unsafe { Head::of(head) };
        if head.is_empty() {
            return null_mut();
        }
        let _held = lock(&LISTS);
        head.depth.store(0, Relaxed);
        head.first.swap(null_mut(), SeqCst)
    }

    fn ExQueryDepthSList(head: *mut SLIST_HEADER) -> u16 {
        // SAFETY: as above.
        let depth = unsafe { Head::of(head) }.depth.load(Relaxed);
        u16::try_from(depth).unwrap_or(u16::MAX)
    }
}
