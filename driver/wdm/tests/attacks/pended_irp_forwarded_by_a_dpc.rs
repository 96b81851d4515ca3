//! A DPC forwards a request to a driver that may wait.

#![forbid(unsafe_code)]

use wdm::{PendedIrp, irql::DispatchLevel};

fn forward(irp: PendedIrp, irql: &mut DispatchLevel) {
    irp.forward(irql); //~ E0277
}

fn main() {}
