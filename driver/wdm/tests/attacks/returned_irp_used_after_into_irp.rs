//! A request that the lower drivers have completed is completed by its owner, and again through `Returned`.

use wdm::{NtStatus, PassiveLevel, PendedIrp, Returned};

fn twice(irp: Returned<PendedIrp>, irql: &mut PassiveLevel) {
    match irp.into_irp() {
        Ok(owner) => owner.complete(NtStatus::SUCCESS, irql),
        Err(_) => {}
    }
    irp.complete(irql); //~ E0382
}
