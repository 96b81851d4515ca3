//! A queued lock of `'static` references is taken for one of shorter ones.

#![forbid(unsafe_code)]

use wdm::{QueuedSpinLock};

fn coerce<'a>(it: &'a QueuedSpinLock<&'static str>) -> &'a QueuedSpinLock<&'a str> {
    it //~ lifetime
}

fn main() {}
