//! What the lower drivers have written is read after the completion.

use wdm::{PassiveLevel, PendedIrp, Returned};

fn keep(irp: Returned<PendedIrp>, irql: &mut PassiveLevel) -> usize {
    let output = irp.output_bytes().unwrap_or_default();
    irp.complete(irql); //~ E0505
    output.len()
}
