//! The sender's buffer is read after the completion, when it is unmapped.

use wdm::{Error, NtStatus, PassiveLevel, PendedIrp};

fn keep(mut irp: PendedIrp, irql: &mut PassiveLevel) -> Result<u32, Error> {
    let buffer = irp.user_buffer()?;
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    buffer.read(0)
}
