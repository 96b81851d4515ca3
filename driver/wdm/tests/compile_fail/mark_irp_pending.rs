//! MarkIrpPending: an IRP is marked pending by its owner, and not after it was completed.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let handled = irp.complete(NtStatus::SUCCESS, irql);
    let _ = irp.pend(irql); //~ E0382
    //~| `irp`
    handled
}

fn main() {}
