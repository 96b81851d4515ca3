//! IrqlExAllocatePool: nothing is allocated under a spin lock.

use wdm::{NtStatus, PassiveLevel, Shared, SpinLock};

fn make(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |value, held| {
        let _ = Shared::<u32>::new(Ok::<_, NtStatus>(*value), held); //~ E0277
        //~| NoSpinLockHeld
    });
}

fn main() {}
