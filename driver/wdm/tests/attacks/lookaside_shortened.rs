//! A lookaside list's values become those of an inner frame.

#![forbid(unsafe_code)]

use wdm::Lookaside;

fn coerce<'a>(it: Lookaside<&'static str>) -> Lookaside<&'a str> {
    it //~ lifetime
}

fn main() {}
