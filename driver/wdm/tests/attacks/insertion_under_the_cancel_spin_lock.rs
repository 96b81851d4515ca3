//! An IRP is inserted with the cancel spin lock held, under which it may have to be completed.

#![forbid(unsafe_code)]

use wdm::{CancelSpinLock, IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn insert<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |held| queue.insert_pended(irp, held)); //~ E0277
}

fn main() {}
