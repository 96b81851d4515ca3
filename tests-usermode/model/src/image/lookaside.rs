//! Lookaside lists of an image. The WDK's inline functions call the routines in a list by the convention of an image. The
//! model calls a routine that is not in an image by the host's convention. So each side has its own default routines.

use std::{ffi::c_void, mem::transmute};

use nt::{LOOKASIDE_LIST_EX, NTSTATUS, PALLOCATE_FUNCTION_EX, PFREE_FUNCTION_EX};

/// `POOL_FLAG_NON_PAGED` and `POOL_FLAG_UNINITIALIZED`
const FLAGS: u64 = 0x40 | 0x2;

extern "win64" fn allocate(
    _kind: i32,
    size: usize,
    tag: u32,
    _list: *mut LOOKASIDE_LIST_EX,
) -> *mut c_void {
    // SAFETY: the routine checks what it is given.
    unsafe { nt::ExAllocatePool2(FLAGS, size, tag) }
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
    // SAFETY: passed on to the image.
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
    // SAFETY: passed on to the image.
    unsafe { nt::ExDeleteLookasideListEx(list) };
}
