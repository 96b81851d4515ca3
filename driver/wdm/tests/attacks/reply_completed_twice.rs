//! A reply is completed twice.

use wdm::{NtStatus, PassiveLevel, PendedIrp};

fn complete(irp: PendedIrp, irql: &mut PassiveLevel) {
    let reply = irp.reply();
    reply.complete(NtStatus::SUCCESS, irql);
    reply.complete(NtStatus::SUCCESS, irql); //~ E0382
}
