//! One queued spin lock is acquired as a lock of two classes.

use wdm::{QueuedSpinLock, lock_order, lock_order::Unlocked};

struct Class<F>(F);
lock_order!(Unlocked => Class<for<'x> fn(&'x u8)>);
lock_order!(Class<for<'x> fn(&'x u8)> => Class<fn(&'static u8)>);

fn coerce<'a>(it: &'a QueuedSpinLock<u32, Class<for<'x> fn(&'x u8)>>) -> &'a QueuedSpinLock<u32, Class<fn(&'static u8)>> {
    it //~ E0308
}
