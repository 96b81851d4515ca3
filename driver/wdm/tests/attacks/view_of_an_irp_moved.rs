//! A view is taken by value, past its IRP.

#![forbid(unsafe_code)]

use wdm::{IrpView, PendedIrp};

fn moved(irp: PendedIrp) -> IrpView {
    *irp //~ E0507
}

fn main() {}
