//! A queue, whose lock comes after one of the driver's own, is used under the driver's lock.

use wdm::{IrpQueue, IrpQueueLock, NtStatus, PassiveLevel, QueueCallbacks, SpinLock, lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Mine => existing IrpQueueLock);

/// A queue, whose lock comes after the driver's, is purged under the driver's lock, which completes IRPs.
fn queue_ended_under_its_placed_lock<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &SpinLock<u32, Mine>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| queue.purge(NtStatus::CANCELLED, held)); //~ E0277
}

/// A queue is searched under a lock of the driver's own, which is held until the last of its IRPs was examined.
fn queue_searched_under_a_lock(queue: &IrpQueue<impl QueueCallbacks>, lock: &SpinLock<u32, Mine>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| drop(queue.remove_matching(held, |_| true))); //~ E0277
    //~| a spin lock is held here
}
