//! A guard lets a shorter-lived reference into a lock of `'static` ones.

#![forbid(unsafe_code)]

use wdm::{SpinLockGuard};

fn coerce<'a>(it: SpinLockGuard<'a, &'static str>) -> SpinLockGuard<'a, &'a str> {
    it //~ lifetime
}

fn main() {}
