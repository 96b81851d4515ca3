//! A reply is made for a view of an IRP, which its owner completes.

use wdm::{IrpView, Reply};

fn forge(irp: &IrpView) -> Reply<&IrpView> {
    Reply { owner: irp, length: 0 } //~ E0451
}
