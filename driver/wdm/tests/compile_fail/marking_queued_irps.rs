//! MarkingQueuedIrps: what takes an IRP into a queue marks it pending itself; one that is marked already is not taken.

use wdm::{IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn requeue<C: QueueCallbacks<Record = ()>>(
    queue: &IrpQueue<C>,
    irp: PendedIrp,
    irql: &mut PassiveLevel,
) {
    let _ = queue.insert(irp, irql); //~ E0308
    //~| PendedIrp
}

fn main() {}
