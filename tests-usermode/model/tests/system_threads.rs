//! A system thread ends where it calls `PsTerminateSystemThread`, in the middle of its routine.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    mem::zeroed,
    ptr::{null, null_mut},
    sync::atomic::{AtomicU32, Ordering},
};

use call::{join_thread, referenced, start_thread, wait};
use common::{passes, stops};
use nt::{DEVICE_OBJECT, KSEMAPHORE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS};
use ntmodel::Rule;

/// The data that the driver and its thread share.
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

fn thread_of(
    routine: unsafe extern "C" fn(*mut c_void),
    context: *const impl Sized,
) -> *mut c_void {
    let handle = start_thread(routine, context);
    let thread = referenced(handle);
    assert_eq!(nt!(ZwClose(handle)), STATUS_SUCCESS);
    thread
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbyhandle> and
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-obopenobjectbypointer>: an object of another type is refused.
#[test]
fn the_type_of_an_object_is_checked() {
    passes(|device: *mut DEVICE_OBJECT| {
        // SAFETY: the kernel has the variables, which do not change.
        let [thread_type, event_type, file_type, device_type] = unsafe {
            [
                nt::PsThreadType,
                nt::ExEventObjectType,
                nt::IoFileObjectType,
                nt::IoDeviceObjectType,
            ]
        };
        let handle = start_thread(ends, null::<u8>());
        let reference = |kind| {
            let (mut thread, all) = (null_mut(), nt::THREAD_ALL_ACCESS);
            let status = nt!(ObReferenceObjectByHandle(
                handle,
                all,
                kind,
                0,
                &raw mut thread,
                null_mut()
            ));
            if status == STATUS_SUCCESS {
                nt!(ObfDereferenceObject(thread));
            }
            status
        };
        assert_eq!(reference(thread_type), STATUS_SUCCESS);
        assert_eq!(reference(event_type), STATUS_OBJECT_TYPE_MISMATCH);
        assert_eq!(reference(file_type), STATUS_OBJECT_TYPE_MISMATCH);
        join_thread(handle);
        let open = |kind| {
            let (mut opened, kernel_handle) = (null_mut(), nt::OBJ_KERNEL_HANDLE);
            let status = nt!(ObOpenObjectByPointer(
                device.cast(),
                kernel_handle,
                null_mut(),
                0,
                kind,
                0,
                &raw mut opened
            ));
            if status == STATUS_SUCCESS {
                assert_eq!(nt!(ZwClose(opened)), STATUS_SUCCESS);
            }
            status
        };
        assert_eq!(open(device_type), STATUS_SUCCESS);
        assert_eq!(open(thread_type), STATUS_OBJECT_TYPE_MISMATCH);
        common::delete(device);
    });
}

unsafe extern "C" fn ends(_: *mut c_void) {}

fn join(thread: *mut c_void) {
    wait(thread);
    nt!(ObfDereferenceObject(thread));
}

#[test]
fn thread_ends_where_it_calls_ps_terminate_system_thread() {
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
        let thread = thread_of(serve, worker);
        nt!(KeReleaseSemaphore(wake, 0, 2, 0));
        join(thread);
        // SAFETY: as above.
        assert_eq!(unsafe { &(*worker).turns }.load(Ordering::Relaxed), 2);
        common::delete(device);
    });
}

#[test]
fn thread_ends_in_a_critical_region() {
    let body = |_: *mut DEVICE_OBJECT| {
        let thread = thread_of(end_in_a_critical_region, null::<u8>());
        join(thread);
    };
    stops(body, Rule::CriticalRegions, 1, 0, "a system thread");
}
