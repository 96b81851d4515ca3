//! Lookaside lists of a pool.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializenpagedlookasidelist) and that of
//! [bug check 0xC4](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xc4--driver-verifier-detected-violation)

#[macro_use]
mod call;
mod body;

use std::{
    ffi::c_void,
    hint::black_box,
    mem::MaybeUninit,
    sync::atomic::{AtomicU32, Ordering},
};

use body::{passes, stops};
use nt::{NPAGED_LOOKASIDE_LIST, NonPagedPool, PAGED_LOOKASIDE_LIST, PagedPool};
use ntmodel::Rule;

const TAG: u32 = u32::from_le_bytes(*b"Test");

type Nonpaged = MaybeUninit<NPAGED_LOOKASIDE_LIST>;
type Paged = MaybeUninit<PAGED_LOOKASIDE_LIST>;

fn initialise(list: &mut Nonpaged, size: usize) {
    let list = list.as_mut_ptr();
    nt!(ExInitializeNPagedLookasideList(
        list, None, None, 0, size, TAG, 0
    ));
}

fn initialise_paged(list: &mut Paged) {
    let list = list.as_mut_ptr();
    nt!(ExInitializePagedLookasideList(
        list, None, None, 0, 32, TAG, 0
    ));
}

static ALLOCATED: AtomicU32 = AtomicU32::new(0);
static FREED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn allocate(kind: i32, size: usize, tag: u32) -> *mut c_void {
    assert_eq!((kind, size, tag), (NonPagedPool, 32, TAG));
    ALLOCATED.fetch_add(1, Ordering::SeqCst);
    nt!(ExAllocatePoolWithTag(kind, size, tag))
}

unsafe extern "C" fn free(block: *mut c_void) {
    FREED.fetch_add(1, Ordering::SeqCst);
    nt!(ExFreePoolWithTag(block, TAG));
}

#[test]
fn a_freed_block_is_kept_until_the_list_is_deleted() {
    passes(|| {
        let mut list = Nonpaged::uninit();
        let list = list.as_mut_ptr();
        let routines: (nt::PALLOCATE_FUNCTION, nt::PFREE_FUNCTION) = (Some(allocate), Some(free));
        nt!(ExInitializeNPagedLookasideList(
            list, routines.0, routines.1, 0, 32, TAG, 0
        ));
        let first = nt!(ExAllocateFromNPagedLookasideList(list));
        nt!(ExFreeToNPagedLookasideList(list, first));
        assert_eq!(FREED.load(Ordering::SeqCst), 0);
        assert_eq!(nt!(ExAllocateFromNPagedLookasideList(list)), first);
        assert_eq!(ALLOCATED.load(Ordering::SeqCst), 1);
        nt!(ExFreeToNPagedLookasideList(list, first));
        nt!(ExDeleteNPagedLookasideList(list));
        assert_eq!(FREED.load(Ordering::SeqCst), 1, "the list frees its blocks");
    });
}

#[test]
fn without_routines_blocks_are_of_the_pool() {
    passes(|| {
        let (mut list, mut paged) = (Nonpaged::uninit(), Paged::uninit());
        initialise(&mut list, 32);
        initialise_paged(&mut paged);
        let (list, paged) = (list.as_mut_ptr(), paged.as_mut_ptr());
        // SAFETY: the list is initialised.
        assert_eq!(unsafe { (*list).L.Type }, NonPagedPool);
        // SAFETY: as above.
        assert_eq!(unsafe { (*paged).L.Type }, PagedPool);
        let block = nt!(ExAllocateFromNPagedLookasideList(list));
        let other = nt!(ExAllocateFromPagedLookasideList(paged));
        // A block that does not come from the list is freed by the same routine.
        nt!(ExFreePoolWithTag(block, TAG));
        nt!(ExFreeToPagedLookasideList(paged, other));
        nt!(ExDeleteNPagedLookasideList(list));
        nt!(ExDeletePagedLookasideList(paged));
    });
}

#[test]
fn block_is_at_least_as_long_as_its_entry() {
    let body = || {
        let mut list = Nonpaged::uninit();
        initialise(&mut list, 4);
        black_box(());
    };
    let found = body::found(body);
    let at = (found.rule, found.code, found.parameters[0]);
    assert_eq!(at, (Rule::Pool, 0xc4, 0xcd), "{found}");
    assert_eq!(found.parameters[2..], [4, 8], "{found}");
}

#[test]
fn paged_list_is_used_at_apc_level() {
    let body = || {
        let mut list = Paged::uninit();
        initialise_paged(&mut list);
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ExAllocateFromPagedLookasideList(list.as_mut_ptr()));
        black_box(());
    };
    let routine = "ExAllocateFromPagedLookasideList";
    stops(body, Rule::IrqlExAllocatePool, 0xc4, 1, routine);
    let body = || {
        let mut list = Paged::uninit();
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        initialise_paged(&mut list);
        black_box(());
    };
    let routine = "ExInitializePagedLookasideList";
    stops(body, Rule::IrqlExApcLte2, 0xc4, 0x2_0006, routine);
}

#[test]
fn list_is_initialised_and_deleted_once() {
    let body = || {
        let mut list = Nonpaged::uninit();
        initialise(&mut list, 32);
        initialise(&mut list, 32);
        black_box(());
    };
    let routine = "ExInitializeNPagedLookasideList";
    stops(body, Rule::Pool, 0xc4, 0xca, routine);
    let body = || {
        let mut list = Nonpaged::uninit();
        nt!(ExDeleteNPagedLookasideList(list.as_mut_ptr()));
        black_box(());
    };
    stops(body, Rule::Pool, 0xc4, 0xcb, "ExDeleteNPagedLookasideList");
}

#[test]
fn list_is_deleted_before_the_unload() {
    let found = body::found(|| initialise(Box::leak(Box::new(Nonpaged::uninit())), 32));
    assert_eq!((found.rule, found.code), (Rule::Pool, 0xce), "{found}");
}
