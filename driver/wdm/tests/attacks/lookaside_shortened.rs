//! A lookaside list's values become those of an inner frame.

use wdm::Lookaside;

fn coerce<'a>(it: Lookaside<&'static str>) -> Lookaside<&'a str> {
    it //~ lifetime
}
