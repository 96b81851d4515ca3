//! PendedCompletedRequest: an IRP is not completed with STATUS_PENDING.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    irp.complete(NtStatus::PENDING, irql) //~ E0599
    //~| PENDING
}
