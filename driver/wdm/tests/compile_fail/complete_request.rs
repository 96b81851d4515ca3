//! CompleteRequest: IoCompleteRequest is not called with a spin lock held, since the lock's token does not implement NoSpinLockHeld.

use wdm::{NtStatus, PassiveLevel, PendedIrp, SpinLock};

fn complete(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
    //~| NoSpinLockHeld
}
