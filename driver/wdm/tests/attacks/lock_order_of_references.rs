//! A reference to a class is a class too, and comes after itself.

use wdm::{PassiveLevel, RwSpinLock, lock_order, lock_order::Unlocked};

struct One;
lock_order!(Unlocked => &'static One);
lock_order!(&'static One => existing &'static One); //~ E0080

fn twice(lock: &RwSpinLock<u32, &'static One>, irql: &mut PassiveLevel) {
    lock.read(irql, |_, held| lock.write(held, |value, _| *value += 1));
}
