//! A timer that is set is moved out of its `Shared`.

#![forbid(unsafe_code)]

use wdm::{Shared, Timer, TimerRoutine, irql::DispatchLevel};

struct Tick;

impl TimerRoutine for Tick {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

fn take(timer: Shared<Timer<Tick>>) -> Timer<Tick> {
    *timer //~ E0507
}

fn main() {}
