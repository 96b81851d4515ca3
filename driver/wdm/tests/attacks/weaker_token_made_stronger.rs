//! The token of a DPC becomes one that may wait.

#![forbid(unsafe_code)]

use wdm::{PassiveLevel, irql::{AtMostDispatch, DispatchLevel}};

fn stronger(irql: &mut DispatchLevel) -> &mut PassiveLevel {
    irql.no_wait() //~ E0308
}

fn main() {}
