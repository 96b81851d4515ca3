//! SpinLockDpc: KeAcquireSpinLockAtDpcLevel is not called below DISPATCH_LEVEL.

use wdm::{PassiveLevel, SpinLock};

fn count(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    *lock.lock_at_dpc(irql) += 1; //~ E0277
    //~| Dispatch
}
