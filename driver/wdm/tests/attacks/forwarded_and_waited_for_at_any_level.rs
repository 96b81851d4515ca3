//! A filter waits for the lower drivers though it may have been called at `DISPATCH_LEVEL`.

use wdm::{Handled, Irp, irql::CallerLevel};

fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    irp.forward_and_wait(irql).complete(irql) //~ E0277
    //~| the IRQL is not `PASSIVE_LEVEL` here
}
