//! A token is shared as a `Cell`, to which any number of references can exist, to acquire two locks.

use core::cell::Cell;
use wdm::{PassiveLevel, SpinLock};

fn both(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let token = Cell::from_mut(irql);
    one.with(token.get_mut(), |_, _| { //~ E0596
        //~^ E0596
        other.with(token.get_mut(), |_, _| ());
    });
}
