//! A type of the driver's says that no lock is held.

#![forbid(unsafe_code)]

use wdm::{irql::{AtMostDispatch, NoSpinLockHeld}, lock_order::Unlocked};

struct Mine;
impl AtMostDispatch for Mine { //~ E0277
    type Held = Unlocked;
}
impl NoSpinLockHeld for Mine {} //~ E0277

fn main() {}
