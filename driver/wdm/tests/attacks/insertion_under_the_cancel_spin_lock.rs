//! An IRP is inserted under the cancel spin lock, where the queue may have to complete it.

use wdm::{CancelSpinLock, IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn insert<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |held| queue.insert_pended(irp, held)); //~ E0277
}
