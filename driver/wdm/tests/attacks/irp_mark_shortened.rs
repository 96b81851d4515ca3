//! An IRP's mark becomes that of an inner frame.

#![forbid(unsafe_code)]

use wdm::{Irp};

fn coerce<'a>(it: Irp<'static>) -> Irp<'a> {
    it //~ lifetime
}

fn main() {}
