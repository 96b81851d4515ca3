//! The closure of `remove_matching`, which runs under the queue's lock, uses the caller's token.

use wdm::{IrpQueue, PassiveLevel, QueueCallbacks};

fn remove<C: QueueCallbacks>(queue: &IrpQueue<C>, irql: &mut PassiveLevel) {
    let _ = queue.remove_matching(irql, |_| queue.length(irql) == 0); //~ E0501
    //~^ E0500
}
