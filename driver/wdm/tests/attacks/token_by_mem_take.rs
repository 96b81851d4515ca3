//! A token is taken out of its place by `mem::take`.

#![forbid(unsafe_code)]

use wdm::irql::DispatchLevel;

fn take(irql: &mut DispatchLevel) -> DispatchLevel {
    core::mem::take(irql) //~ E0277
}

fn main() {}
