//! A weaker token outlives the one that it was lent from.

use wdm::{PassiveLevel, irql::{AtMostDispatch, CallerLevel}};

fn keep(irql: &mut PassiveLevel) -> &'static mut CallerLevel {
    irql.no_wait() //~ lifetime
}
