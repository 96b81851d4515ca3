//! MarkingQueuedIrps: inserting an IRP into a queue marks it pending; an IRP that is already marked is not inserted that way.

use wdm::{IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn requeue<C: QueueCallbacks<Record = ()>>(
    queue: &IrpQueue<C>,
    irp: PendedIrp,
    irql: &mut PassiveLevel,
) {
    let _ = queue.insert(irp, irql); //~ E0308
    //~| PendedIrp
}
