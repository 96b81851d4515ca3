//! A request is completed after it was forwarded, when the lower drivers own it.

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn forward(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.forward(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
}
