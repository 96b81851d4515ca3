//! SpinLock: a lock is not acquired again while it is held.

use wdm::{PassiveLevel, SpinLock};

fn twice(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| *lock.lock_at_dpc(held) += 1); //~ E0271
}
