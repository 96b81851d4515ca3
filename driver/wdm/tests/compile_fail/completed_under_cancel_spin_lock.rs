//! CancelSpinLock: an IRP is not completed under the cancel spin lock.

use wdm::{CancelSpinLock, NtStatus, PassiveLevel, PendedIrp};

fn complete(irp: PendedIrp, irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
    //~| NoSpinLockHeld
}
