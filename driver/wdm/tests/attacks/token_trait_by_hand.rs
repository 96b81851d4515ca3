//! A type of the driver implements the token trait that states that no lock is held.

use wdm::{irql::{AtMostDispatch, NoSpinLockHeld}, lock_order::Unlocked};

struct Mine;
impl AtMostDispatch for Mine { //~ E0277
    type Held = Unlocked;
}
impl NoSpinLockHeld for Mine {} //~ E0277
