//! A `Rundown` of a `'static` reference is used as one of a shorter-lived reference.

use wdm::Rundown;

fn coerce<'a>(it: Rundown<&'static str>) -> Rundown<&'a str> {
    it //~ lifetime
}
