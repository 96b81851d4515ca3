//! A queued spin lock of `'static` references is used as one of shorter-lived ones.

use wdm::{QueuedSpinLock};

fn coerce<'a>(it: &'a QueuedSpinLock<&'static str>) -> &'a QueuedSpinLock<&'a str> {
    it //~ lifetime
}
