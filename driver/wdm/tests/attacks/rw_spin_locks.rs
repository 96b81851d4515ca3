//! Attacks on reader/writer spin locks.

use wdm::{PassiveLevel, RwSpinLock, irql::SpinLockHeld, lock_order::Alone};

/// A reader reads again, which never succeeds if a writer waits in between, or while the same thread writes.
fn rw_spin_lock_read_twice(lock: &RwSpinLock<u32>, irql: &mut PassiveLevel) {
    lock.read(irql, |_, held| lock.read(held, |value, _| *value)); //~ E0271
    lock.write(irql, |_, held| lock.read(held, |value, _| *value)); //~ E0271
}

/// The token of a reader is kept until the lock was released.
fn rw_spin_lock_token_kept<'a>(lock: &'a RwSpinLock<u32>, irql: &'a mut PassiveLevel) {
    let mut kept: Option<&mut SpinLockHeld<Alone>> = None;
    lock.read(irql, |_, irql| kept = Some(irql)); //~ E0521
}

/// A reference to the value of a reader/writer spin lock is kept after the release.
fn rw_spin_lock_value_kept<'a>(lock: &'a RwSpinLock<u32>, irql: &mut PassiveLevel) -> &'a u32 {
    lock.read(irql, |value, _| value) //~ lifetime
}

/// A reader/writer spin lock's value becomes one of an inner frame.
fn rw_spin_lock_value_shortened<'a>(it: RwSpinLock<&'static str>) -> RwSpinLock<&'a str> {
    it //~ lifetime
}

/// A reader/writer spin lock is acquired exclusively while it is held shared.
fn rw_spin_lock_written_while_read(lock: &RwSpinLock<u32>, irql: &mut PassiveLevel) {
    lock.read(irql, |_, held| lock.write(held, |value, _| *value += 1)); //~ E0271
}
