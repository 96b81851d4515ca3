//! Violations of the rules in the documentation of routines: each is found.

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use call::{broke, join_thread, start_thread};
use common::{
    NO_CODE, delete, event, extension, found, found_in, initialise, scenario, stops,
    stops_in_some_order,
};
use nt::{DEVICE_OBJECT, IO_REMOVE_LOCK, KEVENT, KMUTEX, NTSTATUS};
use ntmodel::Rule;

const TAG: u32 = u32::from_le_bytes(*b"test");
const USER_MODE: i8 = 1;
const KERNEL_MODE: i8 = 0;

fn allocate(flags: u64, size: usize) -> *mut c_void {
    nt!(ExAllocatePool2(flags, size, TAG))
}

fn wait_in(mode: i8, object: *mut c_void) -> NTSTATUS {
    let mut now = 0;
    nt!(KeWaitForSingleObject(object, 0, mode, 0, &raw mut now))
}

fn wait_for_several(object: *mut c_void) {
    let mut objects = [object];
    let (any, mut now) = (1, 0);
    nt!(KeWaitForMultipleObjects(
        1,
        objects.as_mut_ptr(),
        any,
        0,
        KERNEL_MODE,
        0,
        &raw mut now,
        null_mut()
    ));
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject>
#[test]
fn a_mutex_is_waited_for_in_kernel_mode() {
    let body = |device: *mut DEVICE_OBJECT| {
        let mutex: *mut KMUTEX = extension(device).cast();
        nt!(KeInitializeMutex(mutex, 0));
        wait_in(USER_MODE, mutex.cast());
    };
    stops(body, Rule::WaitMode, NO_CODE, 0, "KeWaitForSingleObject");
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject>
#[test]
fn an_object_on_the_stack_is_waited_for_in_kernel_mode() {
    let body = |_| {
        let mut event: KEVENT = event();
        initialise(&raw mut event);
        wait_in(USER_MODE, (&raw mut event).cast());
    };
    let routine = "KeWaitForSingleObject";
    stops(body, Rule::WaitMode, NO_CODE, 0, routine);
}

#[test]
fn each_of_several_objects_is_initialised() {
    let body = |device| wait_for_several(extension(device).cast());
    let violation = found(body);
    broke(&violation, Rule::Pointer, 0x50, &[]);
}

unsafe extern "C" fn waits(event: *mut c_void) {
    nt!(KeWaitForSingleObject(event, 0, KERNEL_MODE, 0, null_mut()));
}

#[test]
fn an_event_is_not_initialised_while_a_thread_waits_for_it() {
    let body = |device| {
        let event: *mut KEVENT = extension(device).cast();
        initialise(event);
        let thread = start_thread(waits, event);
        common::delay(-common::MILLISECOND);
        initialise(event);
        common::set(event);
        join_thread(thread);
        delete(device);
    };
    let routine = "KeInitializeEvent";
    stops_in_some_order(body, Rule::WaitObjects, NO_CODE, 0, routine);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetevent>
#[test]
fn a_wait_follows_a_set_event_that_announces_it() {
    let body = |device| {
        let event: *mut KEVENT = extension(device).cast();
        initialise(event);
        nt!(KeSetEvent(event, 0, 1));
        wait_in(KERNEL_MODE, event.cast());
        nt!(KeSetEvent(event, 0, 1));
        nt!(KeClearEvent(event));
    };
    stops(body, Rule::AnnouncedWait, NO_CODE, 0, "KeClearEvent");
}

/// Bug check 0xC4, 0.
#[test]
fn no_block_of_zero_bytes_is_allocated() {
    let body = |_| {
        allocate(nt::POOL_FLAG_NON_PAGED, 0);
    };
    stops(body, Rule::Pool, 0xc4, 0, "ExAllocatePool2");
}

/// Bug check 0xC4, 0x7F.
#[test]
fn an_mdl_for_nonpaged_pool_is_not_built_for_other_memory() {
    let of_paged = |_| {
        let block = allocate(nt::POOL_FLAG_PAGED, 32);
        let mdl = nt!(IoAllocateMdl(block, 32, 0, 0, null_mut()));
        nt!(MmBuildMdlForNonPagedPool(mdl));
    };
    let routine = "MmBuildMdlForNonPagedPool";
    stops(of_paged, Rule::Mdl, 0xc4, 0x7f, routine);
    let of_stack = |_| {
        let mut buffer = [0_u8; 32];
        let buffer = (&raw mut buffer).cast();
        let mdl = nt!(IoAllocateMdl(buffer, 32, 0, 0, null_mut()));
        nt!(MmBuildMdlForNonPagedPool(mdl));
    };
    stops(of_stack, Rule::Mdl, 0xc4, 0x7f, routine);
}

/// `EX_SPIN_LOCK`, `FAST_MUTEX` and `LOOKASIDE_LIST_EX` must be in nonpaged memory; `EX_RUNDOWN_REF` if it is used at
/// `DISPATCH_LEVEL`.
#[test]
fn locks_are_not_in_the_paged_pool() {
    let spin_lock = |_| {
        let lock = allocate(nt::POOL_FLAG_PAGED, 64);
        nt!(ExAcquireSpinLockShared(lock.cast()));
    };
    let fast_mutex = |_| {
        let mutex: *mut nt::FAST_MUTEX = allocate(nt::POOL_FLAG_PAGED, 64).cast();
        nt!(ExInitializeFastMutex(mutex));
        nt!(ExAcquireFastMutex(mutex));
    };
    let rundown = |_| {
        let run_ref = allocate(nt::POOL_FLAG_PAGED, 64);
        nt!(ExInitializeRundownProtection(run_ref.cast()));
        nt!(ExAcquireRundownProtection(run_ref.cast()));
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ExReleaseRundownProtection(run_ref.cast()));
    };
    let resource = |_| {
        let resource = allocate(nt::POOL_FLAG_PAGED, size_of::<nt::ERESOURCE>());
        nt!(ExInitializeResourceLite(resource.cast()));
    };
    for violation in [
        found(spin_lock),
        found(fast_mutex),
        found(rundown),
        found(resource),
    ] {
        broke(&violation, Rule::PagedMemory, 0xd1, &[]);
    }
}

/// Bug check 0x93, `INVALID_KERNEL_HANDLE`.
#[test]
fn a_handle_is_closed_once() {
    let body = |_| {
        nt!(ZwClose(std::ptr::without_provenance_mut(0x1234)));
    };
    stops(body, Rule::Pointer, 0x93, 0x1234, "ZwClose");
}

/// Bug check 0xC4, 0xCC.
#[test]
fn a_lookaside_list_is_deleted_before_its_memory_is_freed() {
    let body = |_| {
        let list = allocate(nt::POOL_FLAG_NON_PAGED, 256);
        let (nonpaged, size) = (512, 32);
        nt!(ExInitializeLookasideListEx(
            list.cast(),
            None,
            None,
            nonpaged,
            0,
            size,
            TAG,
            0
        ));
        nt!(ExFreePoolWithTag(list, TAG));
    };
    stops(body, Rule::Pool, 0xc4, 0xcc, "ExFreePoolWithTag");
}

const LOCK_SIZE: u32 = 32;

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializeremovelock>
#[test]
fn a_remove_lock_is_initialised_at_passive_level() {
    let violation = found_in(scenario(|device| {
        let lock: *mut IO_REMOVE_LOCK = extension(device).cast();
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(IoInitializeRemoveLockEx(lock, TAG, 0, 0, LOCK_SIZE));
    }));
    assert_eq!(violation.rule, Rule::Irql, "\n{violation}");
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepool2>
#[test]
fn invalid_flags_of_the_pool_are_refused() {
    common::passes(|device| {
        assert!(allocate(0, 32).is_null(), "no kind of pool");
        let both = nt::POOL_FLAG_PAGED | nt::POOL_FLAG_NON_PAGED;
        assert!(allocate(both, 32).is_null());
        let unknown = 0x4000_0000;
        assert!(allocate(nt::POOL_FLAG_NON_PAGED | unknown, 32).is_null());
        let uninitialised = 2;
        let block = allocate(nt::POOL_FLAG_NON_PAGED | uninitialised, 32);
        // SAFETY: the block has this length.
        assert_ne!(unsafe { block.cast::<u64>().read() }, 0);
        nt!(ExFreePoolWithTag(block, TAG));
        delete(device);
    });
}
