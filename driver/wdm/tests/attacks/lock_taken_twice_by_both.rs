//! A lock is taken again in the closure that has it and another.

#![forbid(unsafe_code)]

use wdm::{PassiveLevel, SpinLock};

fn twice(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| {
        SpinLock::with_both(other, one, held, |_, _, _| ()) //~ E0271
    });
}

fn main() {}
