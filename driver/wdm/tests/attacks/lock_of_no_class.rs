//! A lock has a type that is not a class.

use wdm::{PassiveLevel, SpinLock};

struct Mine;
fn lock(lock: &SpinLock<u32, Mine>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, _| ()); //~ E0599
}
