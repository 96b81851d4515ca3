//! Two classes are one type for all lifetimes and the same for one, of which the first is a subtype.

use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};

struct Class<T>(T);
type All = Class<for<'a> fn(&'a ())>;
type One = Class<fn(&'static ())>;
lock_order!(Unlocked => All);
lock_order!(All => One);

fn inverted(all: &SpinLock<u32, All>, one: &SpinLock<u32, One>, irql: &mut PassiveLevel) {
    one.with(irql, |_, held| all.with(held, |_, _| ())); //~ E0271
    //~^ E0271
}

fn coerced(all: &SpinLock<u32, All>) -> &SpinLock<u32, One> {
    all //~ E0308
}
