//! A queue, whose lock comes after the driver's, is purged under the driver's lock, which completes IRPs.

use wdm::{IrpQueue, IrpQueueLock, NtStatus, PassiveLevel, QueueCallbacks, SpinLock, lock_order, lock_order::Unlocked};

struct Mine;
lock_order!(Unlocked => Mine);
lock_order!(Mine => existing IrpQueueLock);
fn purge<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &SpinLock<u32, Mine>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| queue.purge(NtStatus::CANCELLED, held)); //~ E0277
}
