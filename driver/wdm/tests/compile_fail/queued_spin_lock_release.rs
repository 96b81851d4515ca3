//! QueuedSpinLockRelease: a queued spin lock is acquired only for a closure, after which it is released.

use wdm::{PassiveLevel, QueuedSpinLock};

fn keep(lock: &QueuedSpinLock<u32>, irql: &mut PassiveLevel) {
    let guard = lock.lock(irql); //~ E0599
    //~| `lock`
    core::mem::forget(guard);
}
