//! An IRP with one record is taken for one with another.

#![forbid(unsafe_code)]

use wdm::{Irp, Shared};

fn coerce<'a>(it: Irp<'a, Shared<for<'x> fn(&'x u8)>>) -> Irp<'a, Shared<fn(&'static u8)>> {
    it //~ E0308
}

fn main() {}
