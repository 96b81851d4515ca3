//! A handle is looked up at `DISPATCH_LEVEL`.

use wdm::{Irp, irql::DispatchLevel};

fn run(irp: &Irp<'_>, irql: &mut DispatchLevel) {
    let _ = irp.user_event(4, irql); //~ E0277
}
