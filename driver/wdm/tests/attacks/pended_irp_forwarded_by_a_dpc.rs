//! A DPC forwards a request to a driver that may wait.

use wdm::{PendedIrp, irql::DispatchLevel};

fn forward(irp: PendedIrp, irql: &mut DispatchLevel) {
    irp.forward(irql); //~ E0277
}
