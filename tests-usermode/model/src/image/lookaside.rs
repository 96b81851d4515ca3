//! Lookaside lists of an image. The WDK's inline functions call the routines in a list by the convention of an image. The
//! model calls a routine that is not in an image by the host's convention. So each side has its own default routines.

use std::{ffi::c_void, mem::transmute};

use nt::{
    LOOKASIDE_LIST_EX, NPAGED_LOOKASIDE_LIST, NTSTATUS, PAGED_LOOKASIDE_LIST, PALLOCATE_FUNCTION,
    PALLOCATE_FUNCTION_EX, PFREE_FUNCTION, PFREE_FUNCTION_EX,
};

/// The routine of lists of both kinds: a list of a pool passes no pointer to the list.
extern "win64" fn allocate(kind: i32, size: usize, tag: u32) -> *mut c_void {
    // SAFETY: the routine checks its arguments.
    unsafe { nt::ExAllocatePoolWithTag(kind, size, tag) }
}

extern "win64" fn free(block: *mut c_void, list: *mut LOOKASIDE_LIST_EX) {
    free_of_host(block, list);
}

extern "C" fn free_of_host(block: *mut c_void, list: *mut LOOKASIDE_LIST_EX) {
    // SAFETY: the caller gives its list.
    let tag = unsafe { (*list).Tag };
    // SAFETY: the block was allocated for the list.
    unsafe { nt::ExFreePoolWithTag(block, tag) };
}

/// The default routine that the image calls, as the type of the list's field.
fn free_of_image() -> PFREE_FUNCTION_EX {
    // SAFETY: the image calls it, by its own convention; `delete` takes it out before the model can.
    unsafe { transmute::<*const (), PFREE_FUNCTION_EX>(free as *const ()) }
}

pub(super) extern "win64" fn initialise(
    list: *mut LOOKASIDE_LIST_EX,
    allocate_ex: PALLOCATE_FUNCTION_EX,
    free_ex: PFREE_FUNCTION_EX,
    kind: i32,
    flags: u32,
    size: usize,
    tag: u32,
    depth: u16,
) -> NTSTATUS {
    let allocate_ex = allocate_ex.or({
        // SAFETY: only the image calls it, by its own convention.
        unsafe { transmute::<*const (), PALLOCATE_FUNCTION_EX>(allocate as *const ()) }
    });
    let free_ex = free_ex.or(free_of_image());
    // SAFETY: guaranteed by the image.
    unsafe {
        nt::ExInitializeLookasideListEx(list, allocate_ex, free_ex, kind, flags, size, tag, depth)
    }
}

pub(super) extern "win64" fn delete(list: *mut LOOKASIDE_LIST_EX) {
    let address = |routine: PFREE_FUNCTION_EX| routine.map(|routine| routine as usize);
    // SAFETY: the image gives its list.
    let list_fields = unsafe { &mut *list };
    if address(list_fields.FreeEx) == address(free_of_image()) {
        list_fields.FreeEx = Some(free_of_host);
    }
    // SAFETY: guaranteed by the image.
    unsafe { nt::ExDeleteLookasideListEx(list) };
}

/// The default routine of a list of a pool, which the image calls.
extern "win64" fn free_of_pool(block: *mut c_void) {
    free_of_pool_of_host(block);
}

extern "C" fn free_of_pool_of_host(block: *mut c_void) {
    // SAFETY: the caller gives a block of the list, which is one of the pool.
    unsafe { nt::ExFreePool(block) };
}

/// Returns the routines of a list of a pool, with those that the image calls as the default.
fn routines_of_pool(
    allocate_of_driver: PALLOCATE_FUNCTION,
    free_of_driver: PFREE_FUNCTION,
) -> (PALLOCATE_FUNCTION, PFREE_FUNCTION) {
    // SAFETY: only the image calls it, by its own convention.
    let allocate = unsafe { transmute::<*const (), PALLOCATE_FUNCTION>(allocate as *const ()) };
    // SAFETY: the image calls it, by its own convention; `restore` takes it out before the model can.
    let free = unsafe { transmute::<*const (), PFREE_FUNCTION>(free_of_pool as *const ()) };
    (allocate_of_driver.or(allocate), free_of_driver.or(free))
}

/// Gives a list that is deleted the default routine that the model calls.
fn restore(list: *mut LOOKASIDE_LIST_EX) {
    // SAFETY: the image gives its list.
    let list = unsafe { &mut *list };
    let own = list.FreeEx.map(|routine| routine as *const ());
    if own == Some(free_of_pool as *const ()) {
        // SAFETY: the field of a list of a pool has this type, which its users restore before they call it.
        list.FreeEx =
            unsafe { transmute::<*const (), PFREE_FUNCTION_EX>(free_of_pool_of_host as *const ()) };
    }
}

pub(super) extern "win64" fn initialise_nonpaged(
    list: *mut NPAGED_LOOKASIDE_LIST,
    allocate: PALLOCATE_FUNCTION,
    free: PFREE_FUNCTION,
    flags: u32,
    size: usize,
    tag: u32,
    depth: u16,
) {
    let (allocate, free) = routines_of_pool(allocate, free);
    // SAFETY: guaranteed by the image.
    unsafe {
        nt::ExInitializeNPagedLookasideList(list, allocate, free, flags, size, tag, depth);
    }
}

pub(super) extern "win64" fn initialise_paged(
    list: *mut PAGED_LOOKASIDE_LIST,
    allocate: PALLOCATE_FUNCTION,
    free: PFREE_FUNCTION,
    flags: u32,
    size: usize,
    tag: u32,
    depth: u16,
) {
    let (allocate, free) = routines_of_pool(allocate, free);
    // SAFETY: guaranteed by the image.
    unsafe { nt::ExInitializePagedLookasideList(list, allocate, free, flags, size, tag, depth) };
}

pub(super) extern "win64" fn delete_nonpaged(list: *mut NPAGED_LOOKASIDE_LIST) {
    restore(list.cast());
    // SAFETY: guaranteed by the image.
    unsafe { nt::ExDeleteNPagedLookasideList(list) };
}

pub(super) extern "win64" fn delete_paged(list: *mut PAGED_LOOKASIDE_LIST) {
    restore(list.cast());
    // SAFETY: guaranteed by the image.
    unsafe { nt::ExDeletePagedLookasideList(list) };
}
