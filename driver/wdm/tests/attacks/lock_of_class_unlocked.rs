//! A lock of the class that stands for no lock is taken, so that under it all may be taken.

#![forbid(unsafe_code)]

use wdm::{PassiveLevel, SpinLock, lock_order::Unlocked};

fn lock(lock: &SpinLock<u32, Unlocked>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, _| ()); //~ E0277
}

fn main() {}
