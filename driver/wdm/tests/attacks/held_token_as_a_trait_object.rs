//! The token of a held lock is coerced to a trait object of `NoSpinLockHeld`.

use wdm::{irql::{NoSpinLockHeld, SpinLockHeld}, lock_order::Alone};

fn hide(held: &mut SpinLockHeld<Alone>) -> &mut dyn NoSpinLockHeld {
    held //~ E0277
    //~| a spin lock is held here
}
