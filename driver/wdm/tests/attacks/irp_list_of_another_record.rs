//! A list of IRPs with one type of record is used as one of IRPs with another type.

use wdm::{InterlockedList, PendedIrp, Shared};

fn coerce<'a>(it: &'a InterlockedList<PendedIrp<Shared<for<'x> fn(&'x u8)>>>) -> &'a InterlockedList<PendedIrp<Shared<fn(&'static u8)>>> {
    it //~ E0308
}
