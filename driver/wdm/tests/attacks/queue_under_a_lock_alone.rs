//! The length of a queue is read under a lock that is not ordered before the queue's lock.

use wdm::{IrpQueue, PassiveLevel, QueueCallbacks, SpinLock};

fn length<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| queue.length(held)); //~ E0271
}
