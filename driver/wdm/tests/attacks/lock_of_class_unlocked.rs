//! A lock has the class `Unlocked`, so that every lock could be acquired under it.

use wdm::{PassiveLevel, SpinLock, lock_order::Unlocked};

fn lock(lock: &SpinLock<u32, Unlocked>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, _| ()); //~ E0277
}
