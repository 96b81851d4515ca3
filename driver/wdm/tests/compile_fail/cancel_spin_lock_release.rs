//! CancelSpinLockRelease: the cancel spin lock is released once, by its guard.

use wdm::{CancelSpinLock, PassiveLevel};

fn twice(irql: &mut PassiveLevel) {
    let guard = CancelSpinLock::lock(irql);
    drop(guard);
    drop(guard); //~ E0382
    //~| `guard`
}
