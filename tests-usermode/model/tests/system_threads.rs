//! A system thread ends where it calls `PsTerminateSystemThread`, in the middle of its routine.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    mem::zeroed,
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering},
};

use call::wait;
use common::{passes, stops};
use nt::{DEVICE_OBJECT, KSEMAPHORE, STATUS_SUCCESS};
use ntmodel::Rule;

/// What the driver and its thread share.
struct Worker {
    wake: KSEMAPHORE,
    turns: AtomicU32,
}

/// Serves requests until the driver sets the stop event. As in many C drivers, the thread ends inside the loop, and no code follows it.
unsafe extern "C" fn serve(worker: *mut c_void) {
    let worker = worker.cast::<Worker>();
    // SAFETY: only the address is computed; so below.
    let wake = unsafe { &raw mut (*worker).wake };
    // SAFETY: the driver waits for the thread.
    let turns = unsafe { &(*worker).turns };
    loop {
        wait(wake);
        if turns.fetch_add(1, Ordering::Relaxed) == 1 {
            nt!(PsTerminateSystemThread(STATUS_SUCCESS));
        }
    }
}

unsafe extern "C" fn end_in_a_critical_region(_: *mut c_void) {
    nt!(KeEnterCriticalRegion());
    nt!(PsTerminateSystemThread(STATUS_SUCCESS));
}

fn thread_of(routine: nt::PKSTART_ROUTINE, context: *mut c_void) -> *mut c_void {
    let (mut handle, mut thread) = (null_mut(), null_mut());
    let (none, process, client) = (null_mut(), null_mut(), null_mut());
    let status = nt!(PsCreateSystemThread(
        &raw mut handle,
        0,
        none,
        process,
        client,
        routine,
        context
    ));
    assert_eq!(status, STATUS_SUCCESS);
    let status = nt!(ObReferenceObjectByHandle(
        handle,
        0,
        null_mut(),
        0,
        &raw mut thread,
        null_mut()
    ));
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!(nt!(ZwClose(handle)), STATUS_SUCCESS);
    thread
}

fn join(thread: *mut c_void) {
    wait(thread);
    nt!(ObfDereferenceObject(thread));
}

#[test]
fn a_thread_ends_where_it_says_so() {
    passes(|device: *mut DEVICE_OBJECT| {
        let mut worker = Worker {
            // SAFETY: every field may be zero.
            wake: unsafe { zeroed() },
            turns: AtomicU32::new(0),
        };
        let worker = &raw mut worker;
        // SAFETY: only the address is computed.
        let wake = unsafe { &raw mut (*worker).wake };
        nt!(KeInitializeSemaphore(wake, 0, 2));
        let thread = thread_of(Some(serve), worker.cast());
        nt!(KeReleaseSemaphore(wake, 0, 2, 0));
        join(thread);
        // SAFETY: as above.
        assert_eq!(unsafe { &(*worker).turns }.load(Ordering::Relaxed), 2);
        common::delete(device);
    });
}

#[test]
fn thread_ends_in_a_critical_region() {
    stops(
        |_| {
            let thread = thread_of(Some(end_in_a_critical_region), null_mut());
            join(thread);
        },
        Rule::CriticalRegions,
        1,
        0,
        "a system thread",
    );
}
