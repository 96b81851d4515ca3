//! An IRP with one type of record is inserted into a queue of IRPs with another type.

use wdm::{IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks, Shared};

fn insert<C: QueueCallbacks<Record = Shared<u32>>>(queue: &IrpQueue<C>, irp: PendedIrp<Shared<u64>>, irql: &mut PassiveLevel) {
    queue.insert_pended(irp, irql); //~ E0308
}
