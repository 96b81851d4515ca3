//! A DPC waits for system threads.

use wdm::{irql::DispatchLevel, thread};

fn run(irql: &mut DispatchLevel) {
    let _ = thread::run(1, irql, &|_, _| ()); //~ E0308
}
