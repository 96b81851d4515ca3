//! The input in the system buffer is read after the completion.

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn keep(irp: PendedIrp, irql: &mut PassiveLevel) -> u32 {
    let input = irp.input_ref::<u32>().unwrap_or(&0);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    *input
}
