//! A lock that was not initialised in place is moved while it is held.

use wdm::{PassiveLevel, SpinLock};

fn run(irql: &mut PassiveLevel) {
    let lock: SpinLock<u32> = SpinLock::new_static(0);
    let guard = lock.lock(irql);
    drop(lock); //~ E0505
    drop(guard);
}
