//! A place for one record is coerced to a place for another.

use wdm::{InterlockedOwner, ZoneBox};

type Of<F> = InterlockedOwner<ZoneBox<F>>;

fn coerce<'a>(it: &'a Of<for<'x> fn(&'x u8)>) -> &'a Of<fn(&'static u8)> {
    it //~ E0308
}
