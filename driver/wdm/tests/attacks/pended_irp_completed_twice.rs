//! A pended IRP is completed twice.

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn twice(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
}
