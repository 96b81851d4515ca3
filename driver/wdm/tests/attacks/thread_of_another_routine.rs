//! A thread with one routine is coerced to a thread with another.

use wdm::{PassiveLevel, Thread, ThreadRoutine};

struct R<F>(F);
impl<F: Send + Sync + 'static> ThreadRoutine for R<F> {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

fn coerce<'a>(it: &'a Thread<R<for<'x> fn(&'x u8)>>) -> &'a Thread<R<fn(&'static u8)>> {
    it //~ E0308
}
