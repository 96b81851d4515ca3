//! A request is forwarded during an access: the lower driver completes it, and a driver above calls this driver in the same thread,
//! which then waits for its own access when it runs the value down.

use wdm::{Handled, Irp, PassiveLevel, Rundown};

fn run<'irp>(value: &Rundown<u32>, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Option<Handled<'irp>> {
    value.access(irql, |_, irql| irp.forward(irql)) //~ E0277
}
