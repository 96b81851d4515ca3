//! SpinlockRelease: the lock that was acquired first is released last; another order would restore the wrong IRQL.

use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};

struct First;
struct Second;
lock_order!(Unlocked => First);
lock_order!(First => Second);

fn both(first: &SpinLock<u32, First>, second: &SpinLock<u32, Second>, irql: &mut PassiveLevel) {
    let mut outer = first.lock(irql);
    let (_, held) = outer.split();
    let inner = second.lock(held);
    drop(outer); //~ E0505
    //~| `outer`
    drop(inner);
}
