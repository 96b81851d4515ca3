//! One lock is coerced to a class of which its own class is a supertype, and acquired in two orders.

use wdm::{SpinLock, lock_order, lock_order::Unlocked};

struct Class<F>(F);
lock_order!(Unlocked => Class<for<'x> fn(&'x u8)>);
lock_order!(Class<for<'x> fn(&'x u8)> => Class<fn(&'static u8)>);

fn coerce<'a>(it: &'a SpinLock<u32, Class<fn(&'static u8)>>) -> &'a SpinLock<u32, Class<for<'x> fn(&'x u8)>> {
    it //~ E0308
}
