//! A lock is acquired again in the closure of `with_both`, which holds it.

use wdm::{PassiveLevel, SpinLock};

fn twice(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| {
        SpinLock::with_both(other, one, held, |_, _, _| ()) //~ E0271
    });
}
