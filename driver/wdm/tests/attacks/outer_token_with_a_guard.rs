//! The outer token is used while a guard lives.

use wdm::{PassiveLevel, PendedIrp, NtStatus, SpinLock};

fn complete(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    let guard = lock.lock(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0499
    drop(guard);
}
