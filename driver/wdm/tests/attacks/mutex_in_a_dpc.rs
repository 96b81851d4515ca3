//! A DPC waits for a mutex.

use wdm::{Mutex, irql::DispatchLevel};

fn run(mutex: &Mutex<u32>, irql: &mut DispatchLevel) {
    mutex.with(irql, |value, _| *value += 1); //~ E0277
}
