//! IrqlKeReleaseSpinLock: a release restores the IRQL that its acquisition saved, and takes no other IRQL.

use wdm::{PassiveLevel, SpinLock};

fn release(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let guard = lock.lock(irql);
    guard.release(2); //~ E0599
    //~| `release`
}
