//! An IRP with one type of record is used as one with another type.

use wdm::{Irp, Shared};

fn coerce<'a>(it: Irp<'a, Shared<for<'x> fn(&'x u8)>>) -> Irp<'a, Shared<fn(&'static u8)>> {
    it //~ E0308
}
