//! A thread waits for an event under a mutex, which is `APC_LEVEL`.

use wdm::{Event, Mutex, PassiveLevel};

fn run(mutex: &Mutex<u32>, event: &Event, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| event.wait(irql)); //~ E0277
}
