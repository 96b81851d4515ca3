//! The handle of a pended request is looked up later, in the process of whichever thread runs then.

use wdm::{PassiveLevel, PendedIrp};

fn run(irp: &PendedIrp, irql: &mut PassiveLevel) {
    let _ = irp.user_event(4, irql); //~ E0599
}
