//! A pended IRP with one record is taken for one with another.

#![forbid(unsafe_code)]

use wdm::{PendedIrp, Shared};

fn coerce(it: PendedIrp<Shared<for<'x> fn(&'x u8)>>) -> PendedIrp<Shared<fn(&'static u8)>> {
    it //~ E0308
}

fn main() {}
