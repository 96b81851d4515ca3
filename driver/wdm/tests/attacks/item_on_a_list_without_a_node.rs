//! A value without a list entry is inserted.

use wdm::{InterlockedList, ZoneBox};

fn none(_: &InterlockedList<ZoneBox<u64>>) {} //~ E0277
