//! The mode of a wait, and calls that announce a wait: the documented behaviour, and mistakes of drivers.

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, mem::zeroed, ptr::null_mut};

use common::{delete, event, extension, passes, stops};
use nt::{KEVENT, KMUTEX, KSEMAPHORE, STATUS_SUCCESS};
use ntmodel::Rule;

const KERNEL_MODE: i8 = 0;
const USER_MODE: i8 = 1;

fn wait(object: *mut c_void, mode: i8) {
    let status = nt!(KeWaitForSingleObject(object, 0, mode, 0, null_mut()));
    assert_eq!(status, STATUS_SUCCESS);
}

fn wait_for_several(object: *mut c_void, mode: i8) {
    let mut objects = [object];
    let (count, objects, blocks) = (1, objects.as_mut_ptr(), null_mut());
    let status = nt!(KeWaitForMultipleObjects(
        count,
        objects,
        0,
        0,
        mode,
        0,
        null_mut(),
        blocks
    ));
    assert_eq!(status, STATUS_SUCCESS);
}

/// Initialises an event that is set.
fn initialise_set(event: *mut KEVENT) {
    nt!(KeInitializeEvent(event, 1, 1));
}

#[test]
fn a_wait_in_user_mode_for_an_object_outside_the_stack_passes() {
    passes(|device| {
        let lasting = extension(device).cast::<KEVENT>();
        initialise_set(lasting);
        wait(lasting.cast(), USER_MODE);
        let mut own = event();
        initialise_set(&raw mut own);
        wait((&raw mut own).cast(), KERNEL_MODE);
        initialise_set(&raw mut own);
        wait_for_several((&raw mut own).cast(), KERNEL_MODE);
        delete(device);
    });
}

#[test]
fn stack_of_a_waiting_thread_is_swapped_out() {
    let (rule, code) = (Rule::WaitMode, common::NO_CODE);
    let single = |_| {
        let mut own = event();
        initialise_set(&raw mut own);
        wait((&raw mut own).cast(), USER_MODE);
    };
    stops(single, rule, code, 0, "KeWaitForSingleObject");
    let several = |_| {
        let mut own = event();
        initialise_set(&raw mut own);
        wait_for_several((&raw mut own).cast(), USER_MODE);
    };
    stops(several, rule, code, 0, "KeWaitForMultipleObjects");
}

#[test]
fn mutex_is_waited_for_in_user_mode() {
    let body = |device| {
        let mutex = extension(device).cast::<KMUTEX>();
        nt!(KeInitializeMutex(mutex, 0));
        wait(mutex.cast(), USER_MODE);
    };
    let routine = "KeWaitForSingleObject";
    stops(body, Rule::WaitMode, common::NO_CODE, 0, routine);
}

#[test]
fn a_wait_follows_a_call_that_announces_it() {
    passes(|device| {
        let mut own = event();
        let own = &raw mut own;
        nt!(KeInitializeEvent(own, 1, 0));
        nt!(KeSetEvent(own, 0, 1));
        wait(own.cast(), KERNEL_MODE);
        // SAFETY: every field may be zero.
        let mut semaphore: KSEMAPHORE = unsafe { zeroed() };
        let semaphore = &raw mut semaphore;
        nt!(KeInitializeSemaphore(semaphore, 0, 1));
        nt!(KeReleaseSemaphore(semaphore, 0, 1, 1));
        wait_for_several(semaphore.cast(), KERNEL_MODE);
        delete(device);
    });
}

#[test]
fn announced_wait_does_not_follow() {
    let body = |_| {
        let mut own = event();
        let own = &raw mut own;
        nt!(KeInitializeEvent(own, 0, 0));
        nt!(KeSetEvent(own, 0, 1));
        nt!(KeClearEvent(own));
    };
    let routine = "KeClearEvent";
    stops(body, Rule::AnnouncedWait, common::NO_CODE, 0, routine);
}
