//! Lookaside lists of the nonpaged and of the paged pool: initialisation, deletion, and the memory of their blocks. They differ
//! from those of [`lookaside`](super::lookaside) only in the type of their routines.

use std::{ffi::c_void, mem::transmute};

use nt::{
    DISPATCH_LEVEL, LOOKASIDE_LIST_EX, NPAGED_LOOKASIDE_LIST, NonPagedPool, PAGED_LOOKASIDE_LIST,
    PALLOCATE_FUNCTION, PFREE_FUNCTION, PagedPool,
};

use crate::{
    ex::lookaside::POOL_RAISE_IF_ALLOCATION_FAILURE,
    host::Call,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

/// `LOOKASIDE_MINIMUM_BLOCK_SIZE`
const MINIMUM_SIZE: usize = 8;

/// The flags of a list.
const FLAGS: i32 = nt::POOL_NX_ALLOCATION.cast_signed() | POOL_RAISE_IF_ALLOCATION_FAILURE;

pub(in crate::ex) unsafe extern "C" fn allocate(kind: i32, size: usize, tag: u32) -> *mut c_void {
    let call = Call::enter(if kind & PagedPool == 0 {
        "ExAllocateFromNPagedLookasideList"
    } else {
        "ExAllocateFromPagedLookasideList"
    });
    let block = call.allocate_pool(size, tag, kind & PagedPool != 0);
    call.require_no_raise(block, kind);
    block
}

unsafe extern "C" fn free(block: *mut c_void) {
    Call::enter("ExFreePool").free_pool(block, 0);
}

/// A list to initialise, as the two routines describe it.
struct New {
    list: *mut LOOKASIDE_LIST_EX,
    allocate: PALLOCATE_FUNCTION,
    free: PFREE_FUNCTION,
    /// The `POOL_TYPE`.
    pool: i32,
    flags: u32,
    size: usize,
    tag: u32,
}

impl Call {
    fn initialise_of_pool(&self, new: &New) {
        self.require_room(new.list);
        self.require_nonpaged(new.list);
        self.require(new.size >= MINIMUM_SIZE, Rule::Pool, || {
            let what = format!(
                "the blocks of the lookaside list {:?} have {} bytes, and LOOKASIDE_MINIMUM_BLOCK_SIZE is {MINIMUM_SIZE}",
                new.list, new.size
            );
            let list = new.list.addr() as u64;
            let bug_check = BugCheck::verifier(0xcd, [list, new.size as u64, MINIMUM_SIZE as u64]);
            (bug_check, what)
        });
        let (allocate, free) = (new.allocate.or(Some(allocate)), new.free.or(Some(free)));
        // SAFETY: the field of a list of a pool has this type, which its users restore before they call it.
        let allocate =
            unsafe { transmute::<PALLOCATE_FUNCTION, nt::PALLOCATE_FUNCTION_EX>(allocate) };
        // SAFETY: as above.
        let free = unsafe { transmute::<PFREE_FUNCTION, nt::PFREE_FUNCTION_EX>(free) };
        let kind = new.pool | (new.flags.cast_signed() & FLAGS);
        self.initialise_lookaside(new.list, (allocate, free), kind, new.size, new.tag);
    }

    fn delete_of_pool(&self, list: *mut LOOKASIDE_LIST_EX) {
        self.delete_lookaside(list, |fields, block| {
            // SAFETY: the list is one of a pool.
            if let Some(free) = unsafe { fields.free_of_pool() } {
                // SAFETY: the block was allocated by the list's other routine.
                unsafe { Call::in_driver(free, (block,)) };
            }
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializenpagedlookasidelist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializeNPagedLookasideList(
    list: *mut NPAGED_LOOKASIDE_LIST,
    allocate: PALLOCATE_FUNCTION,
    free: PFREE_FUNCTION,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    let call = Call::enter("ExInitializeNPagedLookasideList").at_most(DISPATCH_LEVEL);
    call.initialise_of_pool(&New {
        list: list.cast(),
        allocate,
        free,
        pool: NonPagedPool,
        flags,
        size,
        tag,
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exdeletenpagedlookasidelist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExDeleteNPagedLookasideList(list: *mut NPAGED_LOOKASIDE_LIST) {
    let call = Call::enter("ExDeleteNPagedLookasideList").at_most(DISPATCH_LEVEL);
    call.delete_of_pool(list.cast());
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializepagedlookasidelist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializePagedLookasideList(
    list: *mut PAGED_LOOKASIDE_LIST,
    allocate: PALLOCATE_FUNCTION,
    free: PFREE_FUNCTION,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    let call = Call::enter("ExInitializePagedLookasideList");
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte2, 0x2_0006);
    call.initialise_of_pool(&New {
        list: list.cast(),
        allocate,
        free,
        pool: PagedPool,
        flags,
        size,
        tag,
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exdeletepagedlookasidelist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExDeletePagedLookasideList(list: *mut PAGED_LOOKASIDE_LIST) {
    let call = Call::enter("ExDeletePagedLookasideList");
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte2, 0x2_0006);
    call.delete_of_pool(list.cast());
}
