//! A view is kept after the completion.

use wdm::{IrpView, NtStatus, PassiveLevel, PendedIrp};

fn keep(irp: PendedIrp, irql: &mut PassiveLevel) -> u32 {
    let view: &IrpView = &irp;
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    view.code()
}
