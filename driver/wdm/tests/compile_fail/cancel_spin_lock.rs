//! CancelSpinLock: the cancel spin lock is not acquired again while it is held.

use wdm::{CancelSpinLock, PassiveLevel};

fn twice(irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |held| CancelSpinLock::with(held, |_| ())); //~ E0271
}
