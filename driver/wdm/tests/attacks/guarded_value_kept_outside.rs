//! A reference to the value is stored outside the closure that runs under the lock.

use wdm::{PassiveLevel, QueuedSpinLock};

fn keep(lock: &QueuedSpinLock<u32>, irql: &mut PassiveLevel) {
    let mut kept = None;
    lock.with(irql, |value, _| kept = Some(value)); //~ E0521
    let _ = kept;
}
