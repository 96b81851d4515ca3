//! A reference to a record is kept after the completion.

use wdm::{NtStatus, PassiveLevel, PendedIrp, Shared};

fn keep(irp: PendedIrp<Shared<u32>>, irql: &mut PassiveLevel) -> u32 {
    let record = irp.record();
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    *record
}
