//! A remove lock is released once for each tag that it was acquired for.

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
    // SAFETY: the lock is the caller's.
    unsafe { nt::IoInitializeRemoveLockEx(lock, 0, 0, 0, REMOVE_LOCK_SIZE) };
}

fn acquire_remove_lock(lock: &mut IO_REMOVE_LOCK, for_tag: usize) {
    // SAFETY: the lock is initialised.
    let status =
        unsafe { nt::IoAcquireRemoveLockEx(lock, tag(for_tag), c"".as_ptr(), 1, REMOVE_LOCK_SIZE) };
    assert_eq!(status, nt::STATUS_SUCCESS);
}

fn release_remove_lock(lock: &mut IO_REMOVE_LOCK, for_tag: usize) {
    // SAFETY: whether this may be done is what is tested.
    unsafe { nt::IoReleaseRemoveLockEx(lock, tag(for_tag), REMOVE_LOCK_SIZE) };
}

#[test]
fn remove_lock() {
    let not_acquired = || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        acquire_remove_lock(&mut lock, TAG);
        release_remove_lock(&mut lock, OTHER_TAG);
    };
    let violation = stops(
        not_acquired,
        Rule::RemoveLock,
        0xc4,
        0xd5,
        "IoReleaseRemoveLock",
    );
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
    stops(
        too_often,
        Rule::RemoveLock,
        0xc4,
        0xd5,
        "IoReleaseRemoveLock",
    );

    let waited_for = || {
        let mut lock = IO_REMOVE_LOCK { Common: [0; 4] };
        initialise_remove_lock(&mut lock);
        // SAFETY: whether this may be done is what is tested.
        unsafe { nt::IoReleaseRemoveLockAndWaitEx(&raw mut lock, tag(TAG), REMOVE_LOCK_SIZE) };
    };
    stops(
        waited_for,
        Rule::RemoveLock,
        0xc4,
        0xd6,
        "IoReleaseRemoveLockAndWait",
    );
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
