//! MarkIrpPending: a dispatch routine that marks its IRP pending returns STATUS_PENDING: completing the IRP after
//! that does not make another value to return.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let (pended, _pending) = irp.pend_not_cancelable(irql);
    pended.complete(NtStatus::SUCCESS, irql) //~ E0308
    //~| Handled
}
