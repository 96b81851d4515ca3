//! A request is forwarded at `DISPATCH_LEVEL`, though it came at another level.

use wdm::{Handled, Irp, PassiveLevel, irql::raise_to_dispatch};

fn request<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    raise_to_dispatch(irql, |irql| irp.forward(irql)) //~ E0277
    //~| the IRQL was raised here
}
