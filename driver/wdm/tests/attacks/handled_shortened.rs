//! The proof of one call becomes that of a shorter one.

#![forbid(unsafe_code)]

use wdm::{Handled};

fn coerce<'a>(it: Handled<'static>) -> Handled<'a> {
    it //~ lifetime
}

fn main() {}
