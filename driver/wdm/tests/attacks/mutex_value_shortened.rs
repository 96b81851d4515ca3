//! A mutex of a `'static` reference is used as one of a shorter-lived reference.

use wdm::Mutex;

fn coerce<'a>(it: &'a Mutex<&'static str>) -> &'a Mutex<&'a str> {
    it //~ lifetime
}
