//! A reader/writer spin lock's value becomes one of an inner frame.

#![forbid(unsafe_code)]

use wdm::RwSpinLock;

fn coerce<'a>(it: RwSpinLock<&'static str>) -> RwSpinLock<&'a str> {
    it //~ lifetime
}

fn main() {}
