//! LowerDriverReturn: a dispatch routine that forwards its IRP returns what the lower driver has returned.

use wdm::{Handled, Irp, NtStatus, irql::CallerLevel};

fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let _ = irp.forward(irql);
    NtStatus::SUCCESS //~ E0308
    //~| NtStatus
}
