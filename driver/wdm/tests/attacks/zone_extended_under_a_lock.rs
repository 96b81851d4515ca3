//! A zone is extended under a lock, where memory must not be allocated.

use wdm::{PassiveLevel, SpinLock, Zone};

fn extend(zone: &Zone<u32>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| zone.extend(1, held)).ok(); //~ E0277
}
