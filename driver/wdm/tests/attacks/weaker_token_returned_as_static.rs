//! A weaker token outlives the one that it was lent from.

#![forbid(unsafe_code)]

use wdm::{PassiveLevel, irql::{AtMostDispatch, CallerLevel}};

fn keep(irql: &mut PassiveLevel) -> &'static mut CallerLevel {
    irql.no_wait() //~ lifetime
}

fn main() {}
