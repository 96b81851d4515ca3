//! Two guards of one class are swapped, so that they are released in the wrong order.

use wdm::{PassiveLevel, SpinLock};

fn swap(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let mut first = one.lock(irql);
    let mut second = other.lock(irql); //~ E0499
    core::mem::swap(&mut first, &mut second);
}
