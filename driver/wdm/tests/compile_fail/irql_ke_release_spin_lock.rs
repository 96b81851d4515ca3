//! IrqlKeReleaseSpinLock: the release restores what its own acquisition saved, and can be given nothing else.

use wdm::{PassiveLevel, SpinLock};

fn release(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let guard = lock.lock(irql);
    guard.release(2); //~ E0599
    //~| `release`
}

fn main() {}
