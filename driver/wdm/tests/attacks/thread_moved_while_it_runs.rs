//! A thread object is moved out of its place while the thread runs.

use wdm::{PassiveLevel, Thread, ThreadRoutine};

struct Work;

impl ThreadRoutine for Work {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

fn movable<T: Unpin>() {}

fn run() {
    movable::<Thread<Work>>(); //~ E0277
}
