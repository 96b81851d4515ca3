//! The type of a token is erased, and its trait replaced by the trait above.

use wdm::{
    PassiveLevel, SpinLock,
    irql::{AtMostDispatch, NoSpinLockHeld},
    lock_order::Unlocked,
};

fn erased(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let token: &mut dyn NoSpinLockHeld<Held = Unlocked> = irql;
    let token: &mut dyn AtMostDispatch<Held = Unlocked> = token;
    lock.with(token, |_, _| ()); //~ E0277
}
