//! A list's items become those of an inner frame.

use wdm::SList;

fn coerce<'a>(it: SList<&'static str>) -> SList<&'a str> {
    it //~ lifetime
}
