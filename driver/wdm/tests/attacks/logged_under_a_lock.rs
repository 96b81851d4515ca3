//! A message is logged under a lock.

use wdm::{PassiveLevel, SpinLock, log};

fn say(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| log::write(log::Level::Info, held, &[])); //~ E0277
}
