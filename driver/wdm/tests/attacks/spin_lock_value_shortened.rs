//! A lock of `'static` references is used as one of shorter-lived references.

use wdm::{SpinLock};

fn coerce<'a>(it: &'a SpinLock<&'static str>) -> &'a SpinLock<&'a str> {
    it //~ lifetime
}
