//! Threads are started and waited for while the caller's guard is held.

use wdm::{Error, PassiveLevel, SpinLock, thread};

fn wait(lock: &SpinLock<u32>, irql: &mut PassiveLevel) -> Result<(), Error> {
    let guard = lock.lock(irql);
    thread::run(1, irql, &|_, irql| lock.with(irql, |value, _| *value += 1))?; //~ E0499
    drop(guard);
    Ok(())
}
