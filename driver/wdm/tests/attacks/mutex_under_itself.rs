//! A thread acquires a mutex that it holds, which would lend the value twice or hang.

use wdm::{Mutex, PassiveLevel};

fn run(mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |outer, irql| {
        mutex.with(irql, |inner, _| core::mem::swap(inner, outer)); //~ E0277
    });
}
