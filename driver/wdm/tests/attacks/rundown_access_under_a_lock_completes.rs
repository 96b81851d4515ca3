//! A request is completed in an access to a rundown value, while a spin lock is held.

use wdm::{NtStatus, PendedIrp, Rundown, irql::SpinLockHeld, lock_order::Alone};

fn run(value: &Rundown<u32>, irp: PendedIrp, held: &mut SpinLockHeld<Alone>) {
    value.access(held, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}
