//! A reply is completed while a spin lock is held.

use wdm::{NtStatus, PassiveLevel, PendedIrp, SpinLock};

fn complete(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| irp.reply().complete(NtStatus::SUCCESS, held)); //~ E0277
}
