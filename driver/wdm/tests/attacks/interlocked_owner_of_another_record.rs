//! A place for one record is coerced to a place for another.

use wdm::{InterlockedOwner, ZoneBox};

fn interlocked_owner_of_another_record<'a>(
    it: &'a InterlockedOwner<ZoneBox<for<'x> fn(&'x u8)>>,
) -> &'a InterlockedOwner<ZoneBox<fn(&'static u8)>> {
    it //~ E0308
}
