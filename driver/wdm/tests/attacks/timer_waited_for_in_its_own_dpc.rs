//! A timer's routine waits until the routine has returned.

use wdm::{Timer, TimerRoutine, irql::DispatchLevel};

struct Tick;

impl TimerRoutine for Tick {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.cancel_and_wait(irql); //~ E0277
    }
}
