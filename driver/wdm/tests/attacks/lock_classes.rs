//! A lock, its guard or the token under it is coerced between two classes that are subtypes: more locks may be acquired under one
//! of them, or the lock is acquired in two orders.

use wdm::{
    QueuedSpinLock, RwSpinLock, SpinLock, SpinLockGuard,
    irql::{ObjectHeld, SpinLockHeld},
    lock_order,
    lock_order::Unlocked,
};

struct Class<F>(F);
type Super = Class<for<'x> fn(&'x u8)>;
type Sub = Class<fn(&'static u8)>;
lock_order!(Unlocked => Class<for<'x> fn(&'x u8)>);
lock_order!(Class<for<'x> fn(&'x u8)> => Class<fn(&'static u8)>);

fn spin_lock_of_a_superclass<'a>(it: &'a SpinLock<u32, Super>) -> &'a SpinLock<u32, Sub> {
    it //~ E0308
}

fn spin_lock_of_a_subclass<'a>(it: &'a SpinLock<u32, Sub>) -> &'a SpinLock<u32, Super> {
    it //~ E0308
}

fn queued_spin_lock_of_a_superclass<'a>(it: &'a QueuedSpinLock<u32, Super>) -> &'a QueuedSpinLock<u32, Sub> {
    it //~ E0308
}

fn rw_spin_lock_of_a_superclass<'a>(it: &'a RwSpinLock<u32, Super>) -> &'a RwSpinLock<u32, Sub> {
    it //~ E0308
}

fn guard_of_a_superclass<'a>(it: SpinLockGuard<'a, u32, Super>) -> SpinLockGuard<'a, u32, Sub> {
    it //~ E0308
}

fn held_token_of_a_superclass<'a>(it: &'a mut SpinLockHeld<Super>) -> &'a mut SpinLockHeld<Sub> {
    it //~ E0308
}

fn object_token_of_a_superclass<'a>(it: &'a mut ObjectHeld<Super>) -> &'a mut ObjectHeld<Sub> {
    it //~ E0308
}
