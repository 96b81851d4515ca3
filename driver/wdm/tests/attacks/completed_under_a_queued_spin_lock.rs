//! An IRP is completed under a queued spin lock.

use wdm::{NtStatus, PendedIrp, QueuedSpinLock, irql::DispatchLevel};

fn complete(lock: &QueuedSpinLock<u32>, irp: PendedIrp, irql: &mut DispatchLevel) {
    lock.with_at_dpc(irql, |_, held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
}
