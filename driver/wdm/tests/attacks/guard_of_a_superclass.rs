//! A guard of one class is coerced to that of another.

use wdm::{SpinLockGuard, lock_order, lock_order::Unlocked};

struct Class<F>(F);
lock_order!(Unlocked => Class<for<'x> fn(&'x u8)>);
lock_order!(Class<for<'x> fn(&'x u8)> => Class<fn(&'static u8)>);

fn coerce<'a>(it: SpinLockGuard<'a, u32, Class<for<'x> fn(&'x u8)>>) -> SpinLockGuard<'a, u32, Class<fn(&'static u8)>> {
    it //~ E0308
}
