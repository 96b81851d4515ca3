//! An IRP is completed under two locks of one class.

use wdm::{NtStatus, PassiveLevel, PendedIrp, SpinLock};

fn complete(one: &SpinLock<u32>, other: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
}
