//! The parameters of a request are read after it was forwarded.

use wdm::{Handled, Irp, irql::CallerLevel};

fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> (u32, Handled<'irp>) {
    let view = &*irp;
    let handled = irp.forward(irql); //~ E0505
    (view.code(), handled)
}
