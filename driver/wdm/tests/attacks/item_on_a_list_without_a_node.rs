//! A value without a list entry is inserted.

#![forbid(unsafe_code)]

use wdm::{InterlockedList, ZoneBox};

fn none(_: &InterlockedList<ZoneBox<u64>>) {} //~ E0277

fn main() {}
