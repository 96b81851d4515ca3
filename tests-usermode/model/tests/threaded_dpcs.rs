//! Threaded DPCs, whose routines must follow the restrictions of ordinary DPCs.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/introduction-to-threaded-dpcs)

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use common::{NO_CODE, delete, extension, passes, stops};
use nt::{DEVICE_OBJECT, KDPC, PKDEFERRED_ROUTINE};
use ntmodel::Rule;

/// Changes a number in the device extension under the lock before it.
unsafe extern "C" fn locks(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let lock: *mut u64 = context.cast();
    let irql = nt!(KeAcquireSpinLockForDpc(lock));
    // SAFETY: the number is in the extension, and the lock is held.
    unsafe { *lock.wrapping_add(1) += 1 };
    nt!(KeReleaseSpinLockForDpc(lock, irql));
}

unsafe extern "C" fn locks_at_dpc(
    _: *mut KDPC,
    context: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
) {
    nt!(KeAcquireSpinLockAtDpcLevel(context.cast()));
    nt!(KeReleaseSpinLockFromDpcLevel(context.cast()));
}

/// "The code must not block on passive-level synchronization objects such as KEVENT objects."
unsafe extern "C" fn blocks(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    common::delay(-1);
}

fn run_one(device: *mut DEVICE_OBJECT, routine: PKDEFERRED_ROUTINE, is_threaded: bool) {
    let lock = extension(device);
    nt!(KeInitializeSpinLock(lock));
    let mut dpc = KDPC { Reserved: [0; 8] };
    let dpc = &raw mut dpc;
    if is_threaded {
        nt!(KeInitializeThreadedDpc(dpc, routine, lock.cast()));
    } else {
        nt!(KeInitializeDpc(dpc, routine, lock.cast()));
    }
    assert_eq!(nt!(KeInsertQueueDpc(dpc, null_mut(), null_mut())), 1);
    nt!(KeFlushQueuedDpcs());
}

#[test]
fn threaded_dpc_runs_once_for_each_insertion() {
    passes(|device| {
        run_one(device, Some(locks), true);
        // SAFETY: the DPC has run.
        assert_eq!(unsafe { *extension(device).wrapping_add(1) }, 1);
        // An ordinary DPC, which runs at DISPATCH_LEVEL.
        run_one(device, Some(locks_at_dpc), false);
        delete(device);
    });
}

#[test]
fn threaded_dpc_does_not_rely_on_dispatch_level() {
    stops(
        |device| run_one(device, Some(locks_at_dpc), true),
        Rule::SpinLockDpc,
        NO_CODE,
        0,
        "KeAcquireSpinLockAtDpcLevel",
    );
}

#[test]
fn threaded_dpc_does_not_wait() {
    let violation = common::found(|device| run_one(device, Some(blocks), true));
    assert_eq!(violation.routine, "KeDelayExecutionThread", "{violation}");
}
