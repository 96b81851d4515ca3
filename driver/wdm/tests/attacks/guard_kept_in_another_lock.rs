//! A guard is stored in the value of a lock that is acquired under it.

use wdm::{PassiveLevel, SpinLock, SpinLockGuard, lock_order, lock_order::Unlocked};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);
fn keep<'a>(
    one: &'a SpinLock<u32, One>,
    other: &SpinLock<Option<SpinLockGuard<'a, u32, One>>, Other>,
    irql: &'a mut PassiveLevel,
) {
    let mut guard = one.lock(irql);
    other.with(guard.split().1, |kept, _| *kept = Some(guard)); //~ E0505
}
