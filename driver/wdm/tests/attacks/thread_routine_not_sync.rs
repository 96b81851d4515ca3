//! A thread works on a value that other threads may not share.

use core::cell::Cell;

use wdm::{PassiveLevel, Thread, ThreadRoutine};

struct Mine(Cell<u32>);

impl ThreadRoutine for Mine { //~ E0277
    fn run(thread: &Thread<Self>, _: &mut PassiveLevel) {
        thread.0.set(1);
    }
}
