//! A thread waits for an event while it holds a spin lock.

use wdm::{Event, PassiveLevel, SpinLock};

fn wait(lock: &SpinLock<u32>, event: &Event, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| event.wait(held)); //~ E0277
}
