//! A view is moved out of its reference, to outlive its IRP.

use wdm::{IrpView, PendedIrp};

fn moved(irp: PendedIrp) -> IrpView {
    *irp //~ E0507
}
