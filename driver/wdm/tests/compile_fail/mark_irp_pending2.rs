//! MarkIrpPending2: a dispatch routine that returns STATUS_PENDING has marked its IRP, since only that makes the value to return.

use wdm::{Handled, Irp, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    core::mem::forget(irp);
    Handled::pending(irql) //~ E0599
    //~| `pending`
}
