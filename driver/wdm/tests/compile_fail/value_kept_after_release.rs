//! The value of a lock cannot be accessed after the release of the lock.

use wdm::{PassiveLevel, SpinLock};

fn keep<'a>(lock: &'a SpinLock<String>, irql: &'a mut PassiveLevel) -> &'a mut String {
    lock.with(irql, |value, _| value) //~ lifetime
}
