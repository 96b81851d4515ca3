//! An access waits for a mutex whose holder runs the value down.

use wdm::{Mutex, PassiveLevel, Rundown};

fn run(value: &Rundown<u32>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    value.access(irql, |value, irql| mutex.with(irql, |sum, _| *sum += value)); //~ E0277
}
