//! A reader reads again, which never succeeds if a writer waits in between, or while the same thread writes.

use wdm::{PassiveLevel, RwSpinLock};

fn run(lock: &RwSpinLock<u32>, irql: &mut PassiveLevel) {
    lock.read(irql, |_, held| lock.read(held, |value, _| *value)); //~ E0271
    lock.write(irql, |_, held| lock.read(held, |value, _| *value)); //~ E0271
}
