//! A request is completed after it was forwarded, when the lower drivers own it.

use wdm::{Handled, Irp, NtStatus, irql::CallerLevel};

fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let handled = irp.forward(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
    handled
}
