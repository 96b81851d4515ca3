//! User mode could pass a `bool` of 2, or a reference.

use wdm::PendedIrp;

fn forge(irp: &PendedIrp) {
    let _ = irp.input::<bool>(); //~ E0277
    let _ = irp.input::<&'static u32>(); //~ E0277
}
