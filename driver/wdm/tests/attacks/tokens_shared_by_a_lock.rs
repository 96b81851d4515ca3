//! A lock contains the token of another thread.

use wdm::{PassiveLevel, SpinLock, thread};

fn run(lock: &SpinLock<Option<&mut PassiveLevel>>, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &|_, irql| lock.with(irql, |token, _| *token = None)); //~ E0277
}
