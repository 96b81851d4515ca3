//! The token of a held object is coerced to that of another class, under which more locks may be acquired.

use wdm::{irql::ObjectHeld, lock_order, lock_order::Unlocked};

struct Class<F>(F);
lock_order!(Unlocked => Class<for<'x> fn(&'x u8)>);
lock_order!(Class<for<'x> fn(&'x u8)> => Class<fn(&'static u8)>);

fn coerce<'a>(it: &'a mut ObjectHeld<Class<for<'x> fn(&'x u8)>>) -> &'a mut ObjectHeld<Class<fn(&'static u8)>> {
    it //~ E0308
}
