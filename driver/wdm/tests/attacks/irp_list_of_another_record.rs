//! A list of IRPs with one record is taken for one of IRPs with another.

#![forbid(unsafe_code)]

use wdm::{InterlockedList, PendedIrp, Shared};

fn coerce<'a>(it: &'a InterlockedList<PendedIrp<Shared<for<'x> fn(&'x u8)>>>) -> &'a InterlockedList<PendedIrp<Shared<fn(&'static u8)>>> {
    it //~ E0308
}

fn main() {}
