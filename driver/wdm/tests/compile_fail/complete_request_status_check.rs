//! CompleteRequestStatusCheck: a dispatch routine returns the status with which its IRP was completed, not another one.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let _ = irp.complete(NtStatus::SUCCESS, irql);
    NtStatus::CANCELLED //~ E0308
    //~| NtStatus
}
