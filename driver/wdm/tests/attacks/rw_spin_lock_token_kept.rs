//! The token of a reader is kept until the lock was released.

use wdm::{PassiveLevel, RwSpinLock, lock_order::Alone, irql::SpinLockHeld};

fn run<'a>(lock: &'a RwSpinLock<u32>, irql: &'a mut PassiveLevel) {
    let mut kept: Option<&mut SpinLockHeld<Alone>> = None;
    lock.read(irql, |_, irql| kept = Some(irql)); //~ E0521
}
