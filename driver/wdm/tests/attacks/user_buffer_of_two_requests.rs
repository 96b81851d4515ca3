//! A buffer outlives the owner of its request, which is completed.

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn late(mut irp: PendedIrp, irql: &mut PassiveLevel) -> u8 {
    let buffer = irp.user_buffer().ok();
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    buffer.map_or(0, |buffer| buffer.read(0).unwrap_or(0))
}
