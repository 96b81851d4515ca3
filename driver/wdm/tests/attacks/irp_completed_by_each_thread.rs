//! Each of several threads completes the IRP that their closure has captured.

use wdm::{NtStatus, PassiveLevel, PendedIrp, thread};

fn run(irp: PendedIrp, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &move |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0507
}
