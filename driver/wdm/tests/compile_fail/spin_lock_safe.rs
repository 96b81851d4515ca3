//! SpinLockSafe: only the thread that acquired a lock may release it.

use wdm::{PassiveLevel, SpinLock};

fn release_elsewhere(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    fn another_thread(_: impl Send) {}
    another_thread(lock.lock(irql)); //~ E0277
    //~| `Send`
}
