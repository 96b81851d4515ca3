//! The driver's crate renames itself to `core` and defines `assert!`, to change how `lock_order!` compares ranks. A
//! function of `wdm` compares them, so the driver's macro is not used.

extern crate self as core;

#[macro_export]
macro_rules! assert {
    ($($any:tt)*) => {
        ()
    };
}

use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};

pub struct One;
pub struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
lock_order!(Other => existing One); //~ E0080
lock_order!(Unlocked => existing Other);

pub fn deadlock(one: &SpinLock<u32, One>, other: &SpinLock<u32, Other>, irql: &mut PassiveLevel) {
    one.with(irql, |_, held| other.with(held, |_, _| ()));
    other.with(irql, |_, held| one.with(held, |_, _| ()));
    // One processor suffices: One, Other, One again.
    one.with(irql, |_, held| other.with(held, |_, held| one.with(held, |_, _| ())));
}
