//! DoubleCompletion: an IRP is completed once, since completing it takes it by value.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let _ = irp.complete(NtStatus::SUCCESS, irql);
    irp.complete(NtStatus::SUCCESS, irql) //~ E0382
    //~| `irp`
}
