//! A list's items become those of an inner frame.

#![forbid(unsafe_code)]

use wdm::SList;

fn coerce<'a>(it: SList<&'static str>) -> SList<&'a str> {
    it //~ lifetime
}

fn main() {}
