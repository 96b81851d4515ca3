//! A value under run-down protection becomes one of an inner frame.

use wdm::Rundown;

fn coerce<'a>(it: Rundown<&'static str>) -> Rundown<&'a str> {
    it //~ lifetime
}
