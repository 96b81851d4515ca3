//! An access under a spin lock forgets the lock, and completes a request.

use wdm::{NtStatus, PendedIrp, Rundown, irql::SpinLockHeld, lock_order::Alone};

fn run(value: &Rundown<u32>, irp: PendedIrp, held: &mut SpinLockHeld<Alone>) {
    value.access(held, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}
