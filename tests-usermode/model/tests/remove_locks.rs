//! A remove lock is released once for each tag that it was acquired for.

#[macro_use]
mod call;
mod body;

use std::{ffi::c_void, ptr::without_provenance_mut};

use body::{run, stops};
use nt::IO_REMOVE_LOCK;
use ntmodel::{Config, Kernel, Rule};

const TAG: usize = 1;
const OTHER_TAG: usize = 2;
const REMOVE_LOCK_SIZE: u32 = 32;

fn tag(tag: usize) -> *mut c_void {
    without_provenance_mut(tag)
}

fn initialise_remove_lock(lock: &mut IO_REMOVE_LOCK) {
    nt!(IoInitializeRemoveLockEx(lock, 0, 0, 0, REMOVE_LOCK_SIZE));
}

fn acquire_remove_lock(lock: &mut IO_REMOVE_LOCK, for_tag: usize) {
    let status = call::acquire_remove_lock(lock, tag(for_tag), REMOVE_LOCK_SIZE);
    assert_eq!(status, nt::STATUS_SUCCESS);
}

fn release_remove_lock(lock: &mut IO_REMOVE_LOCK, for_tag: usize) {
    nt!(IoReleaseRemoveLockEx(lock, tag(for_tag), REMOVE_LOCK_SIZE));
}

#[test]
fn remove_lock() {
    let not_acquired = || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        acquire_remove_lock(&mut lock, TAG);
        release_remove_lock(&mut lock, OTHER_TAG);
    };
    let routine = "IoReleaseRemoveLock";
    let violation = stops(not_acquired, Rule::RemoveLock, 0xc4, 0xd5, routine);
    assert_eq!(violation.parameters[2], OTHER_TAG as u64);

    let too_often = || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        acquire_remove_lock(&mut lock, TAG);
        acquire_remove_lock(&mut lock, TAG);
        for _ in 0..3 {
            release_remove_lock(&mut lock, TAG);
        }
    };
    let routine = "IoReleaseRemoveLock";
    stops(too_often, Rule::RemoveLock, 0xc4, 0xd5, routine);

    let waited_for = || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        nt!(IoReleaseRemoveLockAndWaitEx(
            &raw mut lock,
            tag(TAG),
            REMOVE_LOCK_SIZE
        ));
    };
    let routine = "IoReleaseRemoveLockAndWait";
    stops(waited_for, Rule::RemoveLock, 0xc4, 0xd6, routine);
}

#[test]
fn a_remove_lock_has_each_tag_as_often_as_it_was_acquired_for_it() {
    let kernel = Kernel::new(Config::default());
    run(&kernel, || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        for tag in [TAG, OTHER_TAG, TAG] {
            acquire_remove_lock(&mut lock, tag);
        }
        for tag in [TAG, TAG, OTHER_TAG] {
            release_remove_lock(&mut lock, tag);
        }
    });
    assert!(kernel.violation().is_none());
}

/// A driver can have a remove lock for each file, in a block of the pool, and wait for it when the file is cleaned up.
#[test]
fn a_remove_lock_in_the_pool_is_waited_for_without_a_removal() {
    let kernel = Kernel::new(Config::default());
    run(&kernel, || {
        let lock = lock_in_the_pool();
        acquire_remove_lock(lock, TAG);
        nt!(IoReleaseRemoveLockAndWaitEx(
            lock,
            tag(TAG),
            REMOVE_LOCK_SIZE
        ));
        let late = call::acquire_remove_lock(lock, tag(TAG), REMOVE_LOCK_SIZE);
        assert_eq!(late, nt::STATUS_DELETE_PENDING);
        free_lock(lock);
    });
    assert!(kernel.violation().is_none());
}

#[test]
fn memory_of_a_remove_lock_is_freed_while_it_is_held() {
    let held = || {
        let lock = lock_in_the_pool();
        acquire_remove_lock(lock, TAG);
        free_lock(lock);
    };
    let violation = stops(held, Rule::RemoveLock, 0, 0, "ExFreePoolWithTag");
    assert!(violation.what.contains("held for 0x1"), "{violation}");
}

/// Allocates a lock of a file.
fn lock_in_the_pool() -> &'static mut IO_REMOVE_LOCK {
    let block = nt!(ExAllocatePool2(0x40, size_of::<IO_REMOVE_LOCK>(), 1));
    // SAFETY: the block is large enough, and zeroed. It is used until it is freed.
    let lock = unsafe { &mut *block.cast::<IO_REMOVE_LOCK>() };
    initialise_remove_lock(lock);
    lock
}

fn free_lock(lock: &mut IO_REMOVE_LOCK) {
    nt!(ExFreePoolWithTag((&raw mut *lock).cast(), 1));
}
