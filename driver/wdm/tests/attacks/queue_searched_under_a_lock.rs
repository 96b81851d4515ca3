//! A queue is searched under a lock of the driver's own, which is held until the last of its IRPs was examined.

use wdm::{IrpQueue, IrpQueueLock, PassiveLevel, QueueCallbacks, SpinLock, lock_order, lock_order::Unlocked};

struct Mine;

lock_order!(Unlocked => Mine);
lock_order!(Mine => existing IrpQueueLock);

fn search(queue: &IrpQueue<impl QueueCallbacks>, lock: &SpinLock<u32, Mine>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| drop(queue.remove_matching(held, |_| true))); //~ E0277
    //~| a spin lock is held here
}
