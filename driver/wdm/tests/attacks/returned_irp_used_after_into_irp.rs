//! A request that has returned is completed by its owner, and again as it was returned.

use wdm::{NtStatus, PassiveLevel, PendedIrp, Returned};

fn twice(irp: Returned<PendedIrp>, irql: &mut PassiveLevel) {
    match irp.into_irp() {
        Ok(owner) => owner.complete(NtStatus::SUCCESS, irql),
        Err(_) => {}
    }
    irp.complete(irql); //~ E0382
}
