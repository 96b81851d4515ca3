//! A timer that is set is moved out of its `Shared`.

use wdm::{Shared, Timer, TimerRoutine, irql::DispatchLevel};

struct Tick;

impl TimerRoutine for Tick {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

fn take(timer: Shared<Timer<Tick>>) -> Timer<Tick> {
    *timer //~ E0507
}
