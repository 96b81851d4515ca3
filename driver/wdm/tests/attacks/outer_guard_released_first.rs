//! The outer guard is dropped before the inner one.

use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
fn both(one: &SpinLock<u32, One>, other: &SpinLock<u32, Other>, irql: &mut PassiveLevel) {
    let mut outer = one.lock(irql);
    let inner = other.lock(outer.split().1);
    drop(outer); //~ E0505
    drop(inner);
}
