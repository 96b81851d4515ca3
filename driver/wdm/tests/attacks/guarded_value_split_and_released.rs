//! The value of a guard is used after the guard is dropped.

use wdm::{PassiveLevel, SpinLock};

fn keep(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let mut guard = lock.lock(irql);
    let (value, _) = guard.split();
    drop(guard); //~ E0505
    *value += 1;
}
