//! A reader/writer spin lock's value becomes one of an inner frame.

use wdm::RwSpinLock;

fn coerce<'a>(it: RwSpinLock<&'static str>) -> RwSpinLock<&'a str> {
    it //~ lifetime
}
