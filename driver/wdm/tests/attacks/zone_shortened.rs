//! A zone of one type is used as one of a shorter-lived type.

use wdm::{Zone};

fn coerce<'a>(it: &'a Zone<&'static str>) -> &'a Zone<&'a str> {
    it //~ lifetime
}
