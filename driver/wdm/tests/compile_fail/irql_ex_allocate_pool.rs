//! IrqlExAllocatePool: memory is not allocated under a spin lock.

use wdm::{DeviceObject, PassiveLevel, Shared, SpinLock};

fn make(lock: &SpinLock<u32>, device: &DeviceObject, irql: &mut PassiveLevel) {
    lock.with(irql, |value, held| {
        let _ = Shared::<u32>::new(*value, device, held); //~ E0277
        //~| NoSpinLockHeld
    });
}
