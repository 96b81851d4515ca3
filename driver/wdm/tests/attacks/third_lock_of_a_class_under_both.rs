//! A third lock of a class is acquired under `with_both`.

use wdm::{PassiveLevel, SpinLock};

fn three(one: &SpinLock<u32>, other: &SpinLock<u32>, third: &SpinLock<u32>, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| *third.lock_at_dpc(held) += 1); //~ E0271
}
