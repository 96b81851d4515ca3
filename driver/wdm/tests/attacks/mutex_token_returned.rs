//! The token of a held mutex is used after the mutex was released.

use wdm::{Mutex, PassiveLevel, irql::ObjectHeld, lock_order::Unlocked};

fn run<'a>(mutex: &Mutex<u32>, irql: &'a mut PassiveLevel) -> &'a mut ObjectHeld<Unlocked> {
    mutex.with(irql, |_, irql| irql) //~ lifetime
}
