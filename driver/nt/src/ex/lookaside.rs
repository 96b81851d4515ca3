//! Lookaside lists. `ExAllocateFromLookasideListEx` and `ExFreeToLookasideListEx` are inline functions in the WDK.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use crate::{
    ExQueryDepthSList, ExpInterlockedPopEntrySList, ExpInterlockedPushEntrySList, LIST_ENTRY,
    NTSTATUS, SLIST_ENTRY, SLIST_HEADER,
};

pub type PALLOCATE_FUNCTION_EX = Option<
    unsafe extern "C" fn(
        PoolType: i32,
        NumberOfBytes: usize,
        Tag: u32,
        Lookaside: *mut LOOKASIDE_LIST_EX,
    ) -> *mut c_void,
>;
pub type PFREE_FUNCTION_EX =
    Option<unsafe extern "C" fn(Buffer: *mut c_void, Lookaside: *mut LOOKASIDE_LIST_EX)>;

/// A lookaside list: blocks of one size, some of which are kept after they were freed.
///
/// The fields that change while the list is used are atomic or in a cell, so that there can be references to the list.
#[repr(C, align(16))]
pub struct LOOKASIDE_LIST_EX {
    pub ListHead: UnsafeCell<SLIST_HEADER>,
    pub Depth: AtomicU16,
    pub MaximumDepth: u16,
    pub TotalAllocates: AtomicU32,
    pub AllocateMisses: AtomicU32,
    pub TotalFrees: AtomicU32,
    pub FreeMisses: AtomicU32,
    pub Type: i32,
    pub Tag: u32,
    pub Size: u32,
    pub AllocateEx: PALLOCATE_FUNCTION_EX,
    pub FreeEx: PFREE_FUNCTION_EX,
    pub ListEntry: UnsafeCell<LIST_ENTRY>,
    pub LastTotalAllocates: AtomicU32,
    pub LastAllocateMisses: AtomicU32,
    pub Future: [u32; 2],
}

/// The `POOL_TYPE` of nonpaged memory that contains no code, the only one that Interlock uses.
pub const NonPagedPoolNx: i32 = 512;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn ExInitializeLookasideListEx(
        Lookaside: *mut LOOKASIDE_LIST_EX,
        Allocate: PALLOCATE_FUNCTION_EX,
        Free: PFREE_FUNCTION_EX,
        PoolType: i32,
        Flags: u32,
        Size: usize,
        Tag: u32,
        Depth: u16,
    ) -> NTSTATUS;
    pub fn ExDeleteLookasideListEx(Lookaside: *mut LOOKASIDE_LIST_EX);
}

/// Adds one to a counter, which may lose counts of other processors, as it does in the WDK.
fn count(counter: &AtomicU32) {
    let now = counter.load(Ordering::Relaxed);
    counter.store(now.wrapping_add(1), Ordering::Relaxed);
}

/// Takes a block that the list keeps; returns NULL if there is none.
///
/// # Safety
/// The list was initialised and not deleted.
pub(super) unsafe fn take(list: &LOOKASIDE_LIST_EX) -> *mut c_void {
    count(&list.TotalAllocates);
    // SAFETY: the head was initialised.
    let entry = unsafe { ExpInterlockedPopEntrySList(list.ListHead.get()) };
    if entry.is_null() {
        count(&list.AllocateMisses);
    }
    entry.cast()
}

/// Keeps a block; returns whether the list has room for it.
///
/// # Safety
/// The list was initialised and not deleted, and the block was allocated from it and is no longer used.
pub(super) unsafe fn keep(list: &LOOKASIDE_LIST_EX, block: *mut c_void) -> bool {
    count(&list.TotalFrees);
    // SAFETY: the head was initialised.
    let depth = unsafe { ExQueryDepthSList(list.ListHead.get()) };
    let has_room = depth < list.Depth.load(Ordering::Relaxed);
    if has_room {
        // SAFETY: as above, and the block has room for an entry and its alignment.
        unsafe { ExpInterlockedPushEntrySList(list.ListHead.get(), block.cast::<SLIST_ENTRY>()) };
    } else {
        count(&list.FreeMisses);
    }
    has_room
}

/// Allocates a block; returns NULL if there is no memory.
///
/// # Safety
/// The list was initialised and not deleted. The IRQL is at most `DISPATCH_LEVEL`.
pub unsafe fn ExAllocateFromLookasideListEx(lookaside: *mut LOOKASIDE_LIST_EX) -> *mut c_void {
    // SAFETY: the caller passes a list that was initialised.
    let list = unsafe { &*lookaside };
    // SAFETY: as above.
    let block = unsafe { take(list) };
    match list.AllocateEx {
        // SAFETY: the routine is the list's, and is called with the list's own parameters.
        Some(allocate) if block.is_null() => unsafe {
            allocate(list.Type, list.Size as usize, list.Tag, lookaside)
        },
        _ => block,
    }
}

/// Frees a block.
///
/// # Safety
/// The list was initialised and not deleted, and the block was allocated from it and is no longer used. The IRQL is at
/// most `DISPATCH_LEVEL`.
pub unsafe fn ExFreeToLookasideListEx(lookaside: *mut LOOKASIDE_LIST_EX, block: *mut c_void) {
    // SAFETY: the caller passes a list that was initialised.
    let list = unsafe { &*lookaside };
    // SAFETY: guaranteed by the caller.
    let is_kept = unsafe { keep(list, block) };
    if let (false, Some(free)) = (is_kept, list.FreeEx) {
        // SAFETY: the routine is the list's, and the block was allocated by its other routine.
        unsafe { free(block, lookaside) };
    }
}
