//! A device is powered up under the lock that its power routine acquires.

use wdm::{PowerPolicy, SpinLock, lock_order::Alone, irql::DispatchLevel};

fn under_a_lock(policy: &PowerPolicy, lock: &SpinLock<u32, Alone>, irql: &mut DispatchLevel) {
    lock.with(irql, |_, held| {
        let _ = policy.power_up(held); //~ E0277
    });
}

fn main() {}
