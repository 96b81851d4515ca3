//! IrqlKeDispatchLte: a routine that requires at most DISPATCH_LEVEL and no lock does not accept a lock's token.

use wdm::{PassiveLevel, SpinLock, irql::raise_to_dispatch};

fn raise(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| raise_to_dispatch(held, |_| ())); //~ E0277
    //~| NoSpinLockHeld
}
