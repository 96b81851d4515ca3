//! A pended IRP is cloned, so that it could be completed twice.

fn two(irp: wdm::PendedIrp) -> (wdm::PendedIrp, wdm::PendedIrp) {
    (irp.clone(), irp) //~ E0599
}
