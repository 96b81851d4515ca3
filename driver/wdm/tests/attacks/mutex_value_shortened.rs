//! A mutex's value becomes one of an inner frame.

use wdm::Mutex;

fn coerce<'a>(it: &'a Mutex<&'static str>) -> &'a Mutex<&'a str> {
    it //~ lifetime
}
