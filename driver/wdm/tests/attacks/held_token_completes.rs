//! The token of a held lock is used as one of no lock.

use wdm::{PassiveLevel, SpinLock, irql::{NoSpinLockHeld, SpinLockHeld}, lock_order::Alone};

impl NoSpinLockHeld for SpinLockHeld<Alone> {} //~ E0117
fn used(_: &SpinLock<u32>, _: &mut PassiveLevel) {}
