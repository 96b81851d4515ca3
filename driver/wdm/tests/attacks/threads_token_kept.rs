//! A thread stores its token for the thread that started it.

use std::cell::Cell;
use wdm::{PassiveLevel, thread};

fn run(irql: &mut PassiveLevel) {
    let kept = Cell::new(None);
    let _ = thread::run(1, irql, &|_, irql: &mut PassiveLevel| kept.set(Some(irql))); //~ E0277
}
