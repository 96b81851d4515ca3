//! SpinlockRelease: the lock that was taken first is released last, or it would restore the wrong IRQL.

use wdm::{PassiveLevel, SpinLock};

fn both(first: &SpinLock<u32>, second: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let mut outer = first.lock(irql);
    let (_, held) = outer.split();
    let inner = second.lock(held);
    drop(outer);
    drop(inner);
}

fn main() {}
