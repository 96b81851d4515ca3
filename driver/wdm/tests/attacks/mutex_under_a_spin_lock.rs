//! A thread waits for a mutex under a spin lock.

use wdm::{Mutex, PassiveLevel, SpinLock};

fn run(lock: &SpinLock<u32>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| {
        mutex.with(held, |value, _| *value += 1); //~ E0277
    });
}
