//! SpinLockSafe: a lock is released by the thread that acquired it.

use wdm::{PassiveLevel, SpinLock};

fn release_elsewhere(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    fn another_thread(_: impl Send) {}
    another_thread(lock.lock(irql)); //~ E0277
    //~| `Send`
}
