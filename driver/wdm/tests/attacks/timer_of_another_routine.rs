//! A timer with one routine is coerced to a timer with another.

use wdm::{Timer, TimerRoutine, irql::DispatchLevel};

struct R<F>(F);
impl<F: Send + Sync + 'static> TimerRoutine for R<F> {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

fn coerce<'a>(it: &'a Timer<R<for<'x> fn(&'x u8)>>) -> &'a Timer<R<fn(&'static u8)>> {
    it //~ E0308
}
