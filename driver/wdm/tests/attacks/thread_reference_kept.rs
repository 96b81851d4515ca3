//! A thread keeps a reference to itself in a static, where it outlives the thread.

use wdm::{PassiveLevel, Thread, ThreadRoutine};

struct Mine;

fn keep(_: &'static Thread<Mine>) {}

impl ThreadRoutine for Mine {
    fn run(thread: &Thread<Self>, _: &mut PassiveLevel) {
        keep(thread); //~ E0521
    }
}
