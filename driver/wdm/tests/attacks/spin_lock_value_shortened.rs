//! A lock of `'static` references is used as one of shorter-lived ones.

#![forbid(unsafe_code)]

use wdm::{SpinLock};

fn coerce<'a>(it: &'a SpinLock<&'static str>) -> &'a SpinLock<&'a str> {
    it //~ lifetime
}

fn main() {}
