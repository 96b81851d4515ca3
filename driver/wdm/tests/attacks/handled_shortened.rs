//! The `Handled` of one call is used as that of a shorter call.

use wdm::{Handled};

fn coerce<'a>(it: Handled<'static>) -> Handled<'a> {
    it //~ lifetime
}
