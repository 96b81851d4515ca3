//! The token of a held lock is returned from its closure.

use wdm::{PassiveLevel, SpinLock};

fn keep(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let _held = lock.with(irql, |_, held| held); //~ lifetime
}
