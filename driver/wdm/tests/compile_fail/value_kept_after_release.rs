//! What a lock protects cannot be reached once the lock is released.

use wdm::{PassiveLevel, SpinLock};

fn keep<'a>(lock: &'a SpinLock<String>, irql: &'a mut PassiveLevel) -> &'a mut String {
    lock.with(irql, |value, _| value) //~ lifetime
}

fn main() {}
