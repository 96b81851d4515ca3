//! A reference to the value of a reader/writer spin lock is kept after the release.

use wdm::{PassiveLevel, RwSpinLock};

fn keep<'a>(lock: &'a RwSpinLock<u32>, irql: &mut PassiveLevel) -> &'a u32 {
    lock.read(irql, |value, _| value) //~ lifetime
}
