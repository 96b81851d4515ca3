//! Two locks without a class are held at the same time.

use wdm::{PassiveLevel, SpinLock};

fn both(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    one.with(irql, |_, held| other.with(held, |_, _| ())); //~ E0271
}
