//! A closure returns a value that it made from its token, through a generic associated type with a lifetime that the caller chooses.

use wdm::{PassiveLevel, SpinLock, SpinLockAtDpcGuard, irql::SpinLockHeld, lock_order, lock_order::Unlocked};

struct One;
struct Other;
lock_order!(Unlocked => One);
lock_order!(One => Other);

trait Use {
    type Result<'a>;
    fn under<'a>(self, held: &'a mut SpinLockHeld<One>) -> Self::Result<'a>;
}

impl Use for &'static SpinLock<u32, Other> {
    type Result<'a> = SpinLockAtDpcGuard<'a, u32, Other>;
    fn under<'a>(self, held: &'a mut SpinLockHeld<One>) -> Self::Result<'a> {
        self.lock_at_dpc(held)
    }
}

fn run<'a, U: Use>(with: U, one: &'a SpinLock<u32, One>, irql: &'a mut PassiveLevel) -> U::Result<'a> {
    one.with(irql, |_, held| with.under(held)) //~ lifetime
}
