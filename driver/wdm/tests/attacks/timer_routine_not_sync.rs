//! The routine of a timer runs while another thread uses the value, which is for one thread at a time.

use std::cell::Cell;

use wdm::{Timer, TimerRoutine, irql::DispatchLevel};

struct Count(Cell<u32>);

impl TimerRoutine for Count { //~ E0277
    fn run(timer: &Timer<Self>, _: &mut DispatchLevel) {
        timer.0.set(1);
    }
}
