//! Attacks on spin locks and their guards.

use core::pin::Pin;

use pinned_init::PinInit;
use wdm::{PassiveLevel, QueuedSpinLock, SpinLock, SpinLockGuard, log, lock_order::Unlocked};

/// A guard is used to store a shorter-lived reference in a lock of `'static` ones.
fn guard_of_a_shorter_value<'a>(it: SpinLockGuard<'a, &'static str>) -> SpinLockGuard<'a, &'a str> {
    it //~ lifetime
}

/// A reference to the value is stored outside the closure that runs under the lock.
fn guarded_value_kept_outside(lock: &QueuedSpinLock<u32>, irql: &mut PassiveLevel) {
    let mut kept = None;
    lock.with(irql, |value, _| kept = Some(value)); //~ E0521
    let _ = kept;
}

/// A reference to the value escapes the closure that runs under the lock.
fn guarded_value_returned<'a>(lock: &'a SpinLock<u32>, irql: &mut PassiveLevel) -> &'a mut u32 {
    lock.with(irql, |value, _| value) //~ lifetime
}

/// The value of a guard is used after the guard is dropped.
fn guarded_value_split_and_released(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let mut guard = lock.lock(irql);
    let (value, _) = guard.split();
    drop(guard); //~ E0505
    *value += 1;
}

/// Two guards of one class are swapped, so that they are released in the wrong order.
fn guards_swapped(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    let mut first = one.lock(irql);
    let mut second = other.lock(irql); //~ E0499
    core::mem::swap(&mut first, &mut second);
}

/// A lock is initialised in a value that moves.
fn initialiser_run_by_hand(place: *mut SpinLock<u32>) {
    let _ = SpinLock::new(0).__pinned_init(place); //~ E0133
}

/// A pinned lock is moved.
fn lock_made_outside_of_its_place(one: Pin<&mut SpinLock<u32>>, other: Pin<&mut SpinLock<u32>>) {
    core::mem::swap(Pin::get_mut(one), Pin::get_mut(other)); //~ E0277
    //~^ E0277
}

/// A lock has the class `Unlocked`, so that every lock could be acquired under it.
fn lock_of_class_unlocked(lock: &SpinLock<u32, Unlocked>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, _| ()); //~ E0277
}

/// A lock is acquired again in the closure of `with_both`, which holds it.
fn lock_taken_twice_by_both(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| {
        SpinLock::with_both(other, one, held, |_, _, _| ()) //~ E0271
    });
}

/// A message is logged under a lock.
fn logged_under_a_lock(lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| log::write(log::Level::Info, held, &[])); //~ E0277
}

/// A queued spin lock of `'static` references is used as one of shorter-lived ones.
fn queued_spin_lock_value_shortened<'a>(it: &'a QueuedSpinLock<&'static str>) -> &'a QueuedSpinLock<&'a str> {
    it //~ lifetime
}

/// A lock of `'static` references is used as one of shorter-lived ones.
fn spin_lock_value_shortened<'a>(it: &'a SpinLock<&'static str>) -> &'a SpinLock<&'a str> {
    it //~ lifetime
}

/// A lock that was not initialised in place is moved while it is held.
fn static_lock_moved_while_held(irql: &mut PassiveLevel) {
    let lock: SpinLock<u32> = SpinLock::new_static(0);
    let guard = lock.lock(irql);
    drop(lock); //~ E0505
    drop(guard);
}

/// A third lock of a class is acquired under `with_both`.
fn third_lock_of_a_class_under_both(one: &SpinLock<u32>, other: &SpinLock<u32>, third: &SpinLock<u32>, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| *third.lock_at_dpc(held) += 1); //~ E0271
}

/// Two locks without a class are held at a time.
fn two_locks_alone(one: &SpinLock<u32>, other: &SpinLock<u32>, irql: &mut PassiveLevel) {
    one.with(irql, |_, held| other.with(held, |_, _| ())); //~ E0271
}
