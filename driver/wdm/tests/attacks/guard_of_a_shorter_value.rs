//! A guard is used to store a shorter-lived reference in a lock of `'static` references.

use wdm::{SpinLockGuard};

fn coerce<'a>(it: SpinLockGuard<'a, &'static str>) -> SpinLockGuard<'a, &'a str> {
    it //~ lifetime
}
