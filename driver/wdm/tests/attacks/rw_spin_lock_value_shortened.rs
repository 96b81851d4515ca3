//! A reader/writer spin lock of `'static` references is used as one of shorter-lived references.

use wdm::RwSpinLock;

fn coerce<'a>(it: RwSpinLock<&'static str>) -> RwSpinLock<&'a str> {
    it //~ lifetime
}
