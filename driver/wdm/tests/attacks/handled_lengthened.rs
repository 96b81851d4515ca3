//! The `Handled` of one call is used as that of another call.

use wdm::{Handled};

fn coerce<'a>(it: Handled<'a>) -> Handled<'static> {
    it //~ lifetime
}
