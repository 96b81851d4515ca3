//! The IRQL is raised and lowered under a lock, with a token that states that no lock is held.

use wdm::{NtStatus, PassiveLevel, PendedIrp, SpinLock, irql::raise_to_dispatch};

fn complete(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| {
        raise_to_dispatch(held, |irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
    });
}
