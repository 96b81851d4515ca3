//! Memory is allocated under a lock.

use wdm::{DeviceObject, PassiveLevel, Shared, SpinLock};

fn make(device: &DeviceObject, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| Shared::new(Ok::<_, wdm::Error>(1_u32), device, held).ok()); //~ E0277
}
