//! The proof of one call becomes that of another.

#![forbid(unsafe_code)]

use wdm::{Handled};

fn coerce<'a>(it: Handled<'a>) -> Handled<'static> {
    it //~ lifetime
}

fn main() {}
