//! Threads share a value that is not `Sync`.

use core::cell::Cell;
use wdm::{PassiveLevel, thread};

fn run(irql: &mut PassiveLevel) {
    let cell = Cell::new(1);
    let _ = thread::run(2, irql, &|_, _| cell.set(2)); //~ E0277
}
