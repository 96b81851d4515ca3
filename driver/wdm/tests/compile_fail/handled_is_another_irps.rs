//! The proof that a dispatch routine returns is its own IRP's, and not one that it got elsewhere.

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

fn main() {}
