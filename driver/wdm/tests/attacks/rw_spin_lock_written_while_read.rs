//! A reader/writer spin lock is acquired exclusively while it is held shared.

use wdm::{PassiveLevel, RwSpinLock};

fn upgrade(lock: &RwSpinLock<u32>, irql: &mut PassiveLevel) {
    lock.read(irql, |_, held| lock.write(held, |value, _| *value += 1)); //~ E0271
}
