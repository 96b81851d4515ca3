//! The token with which a spin lock was acquired cannot be used while the lock is held.

use wdm::{NtStatus, PassiveLevel, PendedIrp, SpinLock};

fn complete(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    let mut guard = lock.lock(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0499
    //~| `*irql`
    *guard += 1;
}
