//! CompleteRequestStatusCheck: a dispatch routine returns what its IRP was completed with, no status of its own.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let _ = irp.complete(NtStatus::SUCCESS, irql);
    NtStatus::CANCELLED //~ E0308
    //~| NtStatus
}

fn main() {}
