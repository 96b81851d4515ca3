//! Lookaside lists: initialisation, deletion, and the memory of their blocks. The other operations are inline functions of
//! the WDK.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ops::Range,
    ptr::null_mut,
    sync::atomic::{AtomicU16, AtomicU32},
};

use nt::{
    DISPATCH_LEVEL, LIST_ENTRY, LOOKASIDE_LIST_EX, NTSTATUS, PALLOCATE_FUNCTION_EX,
    PFREE_FUNCTION_EX, SLIST_HEADER, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};

use crate::{
    ex::pool_lookaside,
    host::{Call, Kernel},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The value in the head of a deleted list. Another value means that the memory holds another object.
const DELETED: [u64; 2] = [u64::from_le_bytes(*b"deleted!"), 0];

/// The flags `EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL` and `EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE`.
const RAISE_ON_FAIL: u32 = 1;
const FAIL_NO_RAISE: u32 = 2;

/// `POOL_RAISE_IF_ALLOCATION_FAILURE`
pub(in crate::ex) const POOL_RAISE_IF_ALLOCATION_FAILURE: i32 = 16;

const STATUS_INVALID_PARAMETER_4: NTSTATUS = 0xc000_00f2_u32.cast_signed();
const STATUS_INVALID_PARAMETER_5: NTSTATUS = 0xc000_00f3_u32.cast_signed();

/// The number of freed blocks that a new list keeps at most, and the maximum of this number.
const DEPTH: u16 = 4;
const MAXIMUM_DEPTH: u16 = 256;

/// Whether a value is of `POOL_TYPE`, with `POOL_ZERO_ALLOCATION` or without.
const fn is_pool_type(kind: i32) -> bool {
    const CACHE_ALIGNED: i32 = 4;
    const SESSION: i32 = 32;
    const NX: i32 = 512;
    let others = CACHE_ALIGNED | SESSION | NX | nt::POOL_ZERO_ALLOCATION;
    let kind = kind & !others;
    kind == 0 || kind == nt::PagedPool
}

unsafe extern "C" fn allocate(
    kind: i32,
    size: usize,
    tag: u32,
    _list: *mut LOOKASIDE_LIST_EX,
) -> *mut c_void {
    let call = Call::enter("ExAllocateFromLookasideListEx");
    let block = call.allocate_pool(size, tag, kind & nt::PagedPool != 0);
    call.require_no_raise(block, kind);
    block
}

unsafe extern "C" fn free(block: *mut c_void, list: *mut LOOKASIDE_LIST_EX) {
    let call = Call::enter("ExFreeToLookasideListEx");
    // SAFETY: the caller gives its list.
    let tag = unsafe { call.view::<LOOKASIDE_LIST_EX, _>(list) }.Tag;
    call.free_pool(block, tag);
}

impl Kernel {
    /// Removes the records of the deleted lookaside lists, the zones and the interlocked lists in memory that is freed.
    pub(in crate::ex) fn forget_lists(&self, memory: &Range<usize>) {
        let ex = self.ex();
        locked(&ex.lookaside_lists)
            .retain(|list, is_deleted| !(*is_deleted && memory.contains(list)));
        locked(&ex.locks_of_lists).retain(|list, _| !memory.contains(list));
        locked(&ex.zones).retain(|zone, segments| {
            let mut blocks = segments.iter().map(|(blocks, _)| blocks.start);
            !memory.contains(zone) && !blocks.any(|block| memory.contains(&block))
        });
    }
}

impl Call {
    /// Checks an operation on a sequenced list, which can be the start of a lookaside list.
    pub(in crate::ex) fn verify_lookaside(&self, head: *mut SLIST_HEADER, freed: usize) {
        let state = locked(&self.kernel.ex().lookaside_lists)
            .get(&head.addr())
            .copied();
        let Some(is_deleted) = state else { return };
        // SAFETY: the caller gives a head.
        if is_deleted && unsafe { (*head).Reserved } != DELETED {
            locked(&self.kernel.ex().lookaside_lists).remove(&head.addr());
            return;
        }
        self.require(!is_deleted, Rule::Pool, || {
            format!("the lookaside list {head:?} is used after it was deleted")
        });
        if freed == 0 {
            return;
        }
        // SAFETY: the list was initialised, and not deleted.
        let list = unsafe { self.view::<LOOKASIDE_LIST_EX, _>(head) };
        let is = |routine: *const ()| {
            list.AllocateEx
                .is_some_and(|own| own as *const () == routine)
        };
        let is_of_pool = is(allocate as *const ()) || is(pool_lookaside::allocate as *const ());
        let unfit = self.unfit_for_lookaside(freed, list.Size as usize);
        if let Some(what) = unfit.filter(|_| is_of_pool) {
            self.stop(BugCheck::NONE, Rule::Pool, what);
        }
    }

    /// Stops the system if the allocation of a block of a `POOL_TYPE` has failed and raises an exception.
    pub(in crate::ex) fn require_no_raise(&self, block: *mut c_void, kind: i32) {
        let raises = block.is_null() && kind & POOL_RAISE_IF_ALLOCATION_FAILURE != 0;
        self.require(!raises, Rule::Pool, || {
            let status = u64::from(STATUS_INSUFFICIENT_RESOURCES.cast_unsigned());
            let what = "the allocation from a lookaside list that raises an exception if it fails has failed: the model does not \
                        pass the exception to a handler";
            (BugCheck(0x1e, [status, 0, 0, 0]), what)
        });
    }

    /// Initialises a lookaside list with its routines.
    pub(in crate::ex) fn initialise_lookaside(
        &self,
        list: *mut LOOKASIDE_LIST_EX,
        (allocate, free): (PALLOCATE_FUNCTION_EX, PFREE_FUNCTION_EX),
        kind: i32,
        size: usize,
        tag: u32,
    ) {
        let before = locked(&self.kernel.ex().lookaside_lists).insert(list.addr(), false);
        self.require(before != Some(false), Rule::Pool, || {
            let what =
                format!("the lookaside list {list:?} is initialised again and was not deleted");
            (BugCheck::verifier(0xca, [list.addr() as u64, 0, 0]), what)
        });
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let links = LIST_ENTRY {
            Flink: null_mut(),
            Blink: null_mut(),
        };
        let initialised = LOOKASIDE_LIST_EX {
            ListHead: UnsafeCell::new(SLIST_HEADER { Reserved: [0; 2] }),
            Depth: AtomicU16::new(DEPTH),
            MaximumDepth: MAXIMUM_DEPTH,
            TotalAllocates: AtomicU32::new(0),
            AllocateMisses: AtomicU32::new(0),
            TotalFrees: AtomicU32::new(0),
            FreeMisses: AtomicU32::new(0),
            Type: kind,
            Tag: tag,
            // A block has room for its entry.
            Size: size.max(16),
            AllocateEx: allocate,
            FreeEx: free,
            ListEntry: UnsafeCell::new(links),
            LastTotalAllocates: AtomicU32::new(0),
            LastAllocateMisses: AtomicU32::new(0),
            Future: [0; 2],
        };
        // SAFETY: the caller passes memory for a list.
        unsafe { list.write(initialised) };
    }

    /// Deletes a lookaside list; `free` frees each block that it keeps.
    pub(in crate::ex) fn delete_lookaside(
        &self,
        list: *mut LOOKASIDE_LIST_EX,
        free: impl Fn(&LOOKASIDE_LIST_EX, *mut c_void),
    ) {
        let before = locked(&self.kernel.ex().lookaside_lists)
            .get(&list.addr())
            .copied();
        self.require(before == Some(false), Rule::Pool, || {
            let what = format!("the lookaside list {list:?} is deleted, and was not initialised");
            (BugCheck::verifier(0xcb, [list.addr() as u64, 0, 0]), what)
        });
        // SAFETY: the list was initialised.
        let fields = unsafe { self.view::<LOOKASIDE_LIST_EX, _>(list) };
        loop {
            // SAFETY: the list was initialised, and threads no longer use it.
            let entry = unsafe { nt::ExpInterlockedPopEntrySList(fields.ListHead.get()) };
            if entry.is_null() {
                break;
            }
            free(fields, entry.cast());
        }
        locked(&self.kernel.ex().lookaside_lists).insert(list.addr(), true);
        let head = fields.ListHead.get();
        // SAFETY: as above.
        unsafe { (*head).Reserved = DELETED };
    }

    /// Stops the system if memory is freed that contains a lookaside list that was not deleted.
    pub(crate) fn require_no_lookaside_in(&self, memory: &Range<usize>) {
        let live = {
            let lists = locked(&self.kernel.ex().lookaside_lists);
            let mut live = lists
                .iter()
                .filter(|(list, is_deleted)| !**is_deleted && memory.contains(list));
            live.next().map(|(list, _)| *list)
        };
        if let Some(list) = live {
            let bug_check = BugCheck::verifier(
                0xcc,
                [list as u64, memory.start as u64, memory.len() as u64],
            );
            let what = format!(
                "memory is freed that contains the lookaside list {list:#x}, which was not deleted"
            );
            self.stop(bug_check, Rule::Pool, what);
        }
    }

    /// Stops the system if the driver is unloaded and has not deleted a lookaside list, which the system still adjusts.
    pub(crate) fn require_no_lookaside_list(&self) {
        let first = {
            let lists = locked(&self.kernel.ex().lookaside_lists);
            let live = lists.iter().find(|(_, is_deleted)| !**is_deleted);
            live.map(|(list, _)| *list)
        };
        self.require(first.is_none(), Rule::Pool, || {
            let list = first.unwrap_or_default();
            let what =
                format!("the driver is unloaded and has not deleted the lookaside list {list:#x}");
            (BugCheck(0xce, [0; 4]), what)
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializelookasidelistex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializeLookasideListEx(
    list: *mut LOOKASIDE_LIST_EX,
    allocate_ex: PALLOCATE_FUNCTION_EX,
    free_ex: PFREE_FUNCTION_EX,
    kind: i32,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) -> NTSTATUS {
    let call = Call::enter("ExInitializeLookasideListEx").at_most(DISPATCH_LEVEL);
    call.require_room(list);
    call.require_nonpaged(list);
    if !is_pool_type(kind) {
        return STATUS_INVALID_PARAMETER_4;
    }
    let kind = match flags {
        0 => kind,
        RAISE_ON_FAIL => kind | POOL_RAISE_IF_ALLOCATION_FAILURE,
        FAIL_NO_RAISE => kind | nt::POOL_QUOTA_FAIL_INSTEAD_OF_RAISE,
        _ => return STATUS_INVALID_PARAMETER_5,
    };
    let is_undefined = flags == FAIL_NO_RAISE && allocate_ex.is_none();
    call.require(!is_undefined, Rule::Pool, || {
        "EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE is given without an allocation routine of the driver, whose \
         behaviour is then undefined"
    });
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let (allocate, free) = (allocate_ex.or(Some(allocate)), free_ex.or(Some(free)));
    call.initialise_lookaside(list, (allocate, free), kind, size, tag);
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exdeletelookasidelistex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExDeleteLookasideListEx(list: *mut LOOKASIDE_LIST_EX) {
    let call = Call::enter("ExDeleteLookasideListEx").at_most(DISPATCH_LEVEL);
    call.delete_lookaside(list, |fields, block| {
        if let Some(free) = fields.FreeEx {
            // SAFETY: the block was allocated by the list's other routine.
            unsafe { Call::in_driver(free, (block, list)) };
        }
    });
}
