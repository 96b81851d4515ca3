//! The token of an access is kept after the access has ended.

use wdm::{PassiveLevel, Rundown, irql::ObjectHeld, lock_order::Unlocked};

fn keep<'a>(value: &Rundown<u32>, irql: &'a mut PassiveLevel) -> Option<&'a mut ObjectHeld<Unlocked>> {
    value.access(irql, |_, irql| irql) //~ lifetime
}
