//! A pended IRP with one type of record is used as one with another type.

use wdm::{PendedIrp, Shared};

fn coerce(it: PendedIrp<Shared<for<'x> fn(&'x u8)>>) -> PendedIrp<Shared<fn(&'static u8)>> {
    it //~ E0308
}
