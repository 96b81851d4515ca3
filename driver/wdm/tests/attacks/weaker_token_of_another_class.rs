//! A held token becomes one of another class on the way.

use wdm::{irql::{AtMostDispatch, SpinLockHeld}, lock_order::{Alone, Unlocked}};

fn stronger(irql: &mut SpinLockHeld<Alone>) -> &mut SpinLockHeld<Unlocked> {
    irql.no_wait() //~ E0308
}
