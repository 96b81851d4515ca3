//! An IRP that is pended is made the one that a queue serves.

#![forbid(unsafe_code)]

use wdm::{CurrentIrp, PendedIrp, QueueCallbacks};

fn forge<C: QueueCallbacks>(irp: PendedIrp<C::Record>) -> CurrentIrp<C> {
    CurrentIrp::from(irp) //~ E0308
}

fn main() {}
