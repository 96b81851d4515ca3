//! A pended IRP is made the current IRP of a queue.

use wdm::{CurrentIrp, PendedIrp, QueueCallbacks};

fn forge<C: QueueCallbacks>(irp: PendedIrp<C::Record>) -> CurrentIrp<C> {
    CurrentIrp::from(irp) //~ E0308
}
