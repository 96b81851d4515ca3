//! IrpProcessingComplete: a dispatch routine returns the proof of its own IRP, not that of another IRP.

use wdm::{Handled, Irp, NtStatus, PassiveLevel};

fn device_control<'irp, 'other>(
    irp: Irp<'irp>,
    other: Irp<'other>,
    irql: &mut PassiveLevel,
) -> Handled<'irp> {
    core::mem::forget(irp);
    other.complete(NtStatus::SUCCESS, irql) //~ lifetime
    //~^ lifetime
}
