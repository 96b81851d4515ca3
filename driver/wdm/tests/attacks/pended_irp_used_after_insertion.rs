//! A pended IRP is inserted into two queues.

use wdm::{IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn insert<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) {
    queue.insert_pended(irp, irql);
    queue.put_back(irp, irql); //~ E0382
}
