//! A view is moved out of its reference, to outlive its IRP.

#![forbid(unsafe_code)]

use wdm::{IrpView, PendedIrp};

fn moved(irp: PendedIrp) -> IrpView {
    *irp //~ E0507
}

fn main() {}
