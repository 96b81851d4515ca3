//! A pended IRP is completed twice.

#![forbid(unsafe_code)]

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn twice(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
}

fn main() {}
