//! The value of a thread is moved out while the thread runs.

use wdm::{PassiveLevel, Thread, ThreadRoutine};

struct Work;

impl ThreadRoutine for Work {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

fn take(thread: Thread<Work>) -> Work {
    *thread //~ E0507
}
