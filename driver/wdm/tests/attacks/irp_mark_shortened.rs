//! The lifetime of an IRP is shortened to that of an inner stack frame.

#![forbid(unsafe_code)]

use wdm::{Irp};

fn coerce<'a>(it: Irp<'static>) -> Irp<'a> {
    it //~ lifetime
}

fn main() {}
