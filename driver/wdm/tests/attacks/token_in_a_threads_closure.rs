//! A thread gets the token of the thread that started it.

use wdm::{PassiveLevel, SpinLock, thread};

fn run(lock: &SpinLock<u32>, irql: &mut PassiveLevel, other: &mut PassiveLevel) {
    let _ = thread::run(1, irql, &|_, _| { //~ E0277
        lock.with(other, |value, _| *value += 1);
    });
}
