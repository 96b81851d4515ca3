//! Attacks on the threads of `thread::run`.

use core::cell::Cell;

use wdm::{PassiveLevel, thread};

/// Threads share a value that is not `Sync`.
fn thread_shares_a_cell(irql: &mut PassiveLevel) {
    let cell = Cell::new(1);
    let _ = thread::run(2, irql, &|_, _| cell.set(2)); //~ E0277
}

/// A thread stores its token for the thread that started it.
fn threads_token_kept(irql: &mut PassiveLevel) {
    let kept = Cell::new(None);
    let _ = thread::run(1, irql, &|_, irql: &mut PassiveLevel| kept.set(Some(irql))); //~ E0277
}
