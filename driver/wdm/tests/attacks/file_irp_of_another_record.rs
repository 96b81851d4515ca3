//! An IRP that opens a file, with one type of record, is used as one with another type.

use wdm::{FileIrp, Shared};

fn coerce<'a>(it: FileIrp<'a, Shared<for<'x> fn(&'x u8)>>) -> FileIrp<'a, Shared<fn(&'static u8)>> {
    it //~ E0308
}
