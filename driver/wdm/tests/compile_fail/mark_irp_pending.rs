//! MarkIrpPending: a dispatch routine that marks its IRP pending must return STATUS_PENDING. If the routine completes the IRP
//! afterwards, the completion does not return another value for the routine to return.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let (pended, _pending) = irp.pend_not_cancelable(irql);
    pended.complete(NtStatus::SUCCESS, irql) //~ E0308
    //~| Handled
}
