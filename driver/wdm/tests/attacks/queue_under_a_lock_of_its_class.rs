//! A driver's lock has the class of the lock of a queue, which is searched under it.

use wdm::{IrpQueue, IrpQueueLock, PassiveLevel, QueueCallbacks, RwSpinLock};

fn both<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &RwSpinLock<u32, IrpQueueLock>, irql: &mut PassiveLevel) {
    lock.write(irql, |_, held| drop(queue.remove_first(held))); //~ E0271
}
