//! The IRQL is raised while a mutex is held, to get a token with which a request can be completed.

use wdm::{Mutex, PassiveLevel, irql::raise_to_dispatch};

fn run(mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| raise_to_dispatch(irql, |_| ())); //~ E0277
}
