//! IrqlReturn: a routine returns at the IRQL at which it was called, since guards do not outlive it.

use wdm::{PassiveLevel, SpinLock, SpinLockGuard};

fn dispatch(lock: &SpinLock<u32>) -> SpinLockGuard<'_, u32> {
    fn at_passive_level(_: impl FnOnce(&mut PassiveLevel)) {}
    let mut kept = None;
    at_passive_level(|irql| kept = Some(lock.lock(irql))); //~ E0521
    //~| `kept`
    kept.unwrap()
}
