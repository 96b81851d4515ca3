//! Lookaside lists of a pool, whose routines get no pointer to the list. `ExAllocateFromNPagedLookasideList` and the related routines are
//! inline functions in the WDK.

use core::{ffi::c_void, mem::transmute};

use crate::{
    LOOKASIDE_LIST_EX,
    ex::lookaside::{keep, take},
};

pub type PALLOCATE_FUNCTION =
    Option<unsafe extern "C" fn(PoolType: i32, NumberOfBytes: usize, Tag: u32) -> *mut c_void>;
pub type PFREE_FUNCTION = Option<unsafe extern "C" fn(Buffer: *mut c_void)>;

/// The flag of a list whose blocks contain no code.
pub const POOL_NX_ALLOCATION: u32 = 512;

/// A lookaside list of the nonpaged pool. Its fields are those of the other lists, but its routines are a
/// [`PALLOCATE_FUNCTION`] and a [`PFREE_FUNCTION`].
#[repr(C)]
#[cfg_attr(target_arch = "aarch64", repr(align(128)))]
#[cfg_attr(not(target_arch = "aarch64"), repr(align(64)))]
pub struct NPAGED_LOOKASIDE_LIST {
    pub L: LOOKASIDE_LIST_EX,
}

/// A lookaside list of the paged pool, with the same fields.
#[repr(C)]
#[cfg_attr(target_arch = "aarch64", repr(align(128)))]
#[cfg_attr(not(target_arch = "aarch64"), repr(align(64)))]
pub struct PAGED_LOOKASIDE_LIST {
    pub L: LOOKASIDE_LIST_EX,
}

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn ExInitializeNPagedLookasideList(
        Lookaside: *mut NPAGED_LOOKASIDE_LIST,
        Allocate: PALLOCATE_FUNCTION,
        Free: PFREE_FUNCTION,
        Flags: u32,
        Size: usize,
        Tag: u32,
        Depth: u16,
    );
    pub fn ExDeleteNPagedLookasideList(Lookaside: *mut NPAGED_LOOKASIDE_LIST);
    pub fn ExInitializePagedLookasideList(
        Lookaside: *mut PAGED_LOOKASIDE_LIST,
        Allocate: PALLOCATE_FUNCTION,
        Free: PFREE_FUNCTION,
        Flags: u32,
        Size: usize,
        Tag: u32,
        Depth: u16,
    );
    pub fn ExDeletePagedLookasideList(Lookaside: *mut PAGED_LOOKASIDE_LIST);
}

impl LOOKASIDE_LIST_EX {
    /// Returns the routine that allocates the blocks of a list of a pool.
    ///
    /// # Safety
    /// The list is of this kind, and was initialised.
    pub unsafe fn allocate_of_pool(&self) -> PALLOCATE_FUNCTION {
        // SAFETY: guaranteed by the caller: in the WDK the field is a union of the two types.
        unsafe { transmute(self.AllocateEx) }
    }

    /// Returns the routine that frees the blocks of a list of a pool.
    ///
    /// # Safety
    /// As for [`LOOKASIDE_LIST_EX::allocate_of_pool`].
    pub unsafe fn free_of_pool(&self) -> PFREE_FUNCTION {
        // SAFETY: as above.
        unsafe { transmute(self.FreeEx) }
    }
}

/// Allocates a block; returns NULL if there is no memory.
///
/// # Safety
/// The list is one of a pool, was initialised and not deleted.
unsafe fn allocate(list: &LOOKASIDE_LIST_EX) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    let block = unsafe { take(list) };
    // SAFETY: guaranteed by the caller.
    let routine = unsafe { list.allocate_of_pool() };
    match routine {
        // SAFETY: the routine is the list's, and is called with the list's own parameters.
        Some(allocate) if block.is_null() => unsafe {
            allocate(list.Type, list.Size as usize, list.Tag)
        },
        _ => block,
    }
}

/// Frees a block.
///
/// # Safety
/// As for [`allocate`], and the block was allocated from the list and is no longer used.
unsafe fn free(list: &LOOKASIDE_LIST_EX, block: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let is_kept = unsafe { keep(list, block) };
    // SAFETY: guaranteed by the caller.
    let routine = unsafe { list.free_of_pool() };
    if let (false, Some(free)) = (is_kept, routine) {
        // SAFETY: the routine is the list's, and the block was allocated by its other routine.
        unsafe { free(block) };
    }
}

/// Allocates a block; returns NULL if there is no memory.
///
/// # Safety
/// The list was initialised and not deleted. The IRQL is at most `DISPATCH_LEVEL`.
pub unsafe fn ExAllocateFromNPagedLookasideList(list: *mut NPAGED_LOOKASIDE_LIST) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    let list = unsafe { &(*list).L };
    // SAFETY: guaranteed by the caller.
    unsafe { allocate(list) }
}

/// Frees a block.
///
/// # Safety
/// The list was initialised and not deleted, and the block was allocated from it and is no longer used. The IRQL is at
/// most `DISPATCH_LEVEL`.
pub unsafe fn ExFreeToNPagedLookasideList(list: *mut NPAGED_LOOKASIDE_LIST, block: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let list = unsafe { &(*list).L };
    // SAFETY: guaranteed by the caller.
    unsafe { free(list, block) };
}

/// Allocates a block; returns NULL if there is no memory.
///
/// # Safety
/// The list was initialised and not deleted. The IRQL is at most `APC_LEVEL`.
pub unsafe fn ExAllocateFromPagedLookasideList(list: *mut PAGED_LOOKASIDE_LIST) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    let list = unsafe { &(*list).L };
    // SAFETY: guaranteed by the caller.
    unsafe { allocate(list) }
}

/// Frees a block.
///
/// # Safety
/// The list was initialised and not deleted, and the block was allocated from it and is no longer used. The IRQL is at
/// most `APC_LEVEL`.
pub unsafe fn ExFreeToPagedLookasideList(list: *mut PAGED_LOOKASIDE_LIST, block: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let list = unsafe { &(*list).L };
    // SAFETY: guaranteed by the caller.
    unsafe { free(list, block) };
}
