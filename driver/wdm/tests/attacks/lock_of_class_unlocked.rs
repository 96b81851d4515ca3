//! A lock has the class `Unlocked`, so that every lock could be acquired under it.

#![forbid(unsafe_code)]

use wdm::{PassiveLevel, SpinLock, lock_order::Unlocked};

fn lock(lock: &SpinLock<u32, Unlocked>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, _| ()); //~ E0277
}

fn main() {}
