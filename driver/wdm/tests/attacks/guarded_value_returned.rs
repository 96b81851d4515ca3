//! A reference to the value escapes the closure that runs under the lock.

use wdm::{PassiveLevel, SpinLock};

fn keep<'a>(lock: &'a SpinLock<u32>, irql: &mut PassiveLevel) -> &'a mut u32 {
    lock.with(irql, |value, _| value) //~ lifetime
}
