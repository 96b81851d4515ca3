//! The closure that looks for an IRP removes another one from the queue, whose lock is held.

use wdm::{IrpQueue, PassiveLevel, QueueCallbacks};

fn take<C: QueueCallbacks>(queue: &IrpQueue<C>, irql: &mut PassiveLevel) {
    let _ = queue.remove_matching(irql, |_| queue.remove_first(irql).is_some()); //~ E0500
    //~^ E0501
}
