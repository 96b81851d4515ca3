//! QueuedSpinLock: a queued spin lock is not acquired again while it is held.

use wdm::{PassiveLevel, QueuedSpinLock};

fn twice(lock: &QueuedSpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| lock.with_at_dpc(held, |value, _| *value += 1)); //~ E0271
}
