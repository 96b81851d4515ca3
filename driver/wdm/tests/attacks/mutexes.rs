//! Attacks on mutexes.

use core::cell::Cell;

use wdm::{
    Event, Mutex, NtStatus, PassiveLevel, PendedIrp, SpinLock,
    irql::{DispatchLevel, ObjectHeld, raise_to_dispatch}, lock_order::Unlocked,
};

/// A request is completed under a mutex: the completion routine of an upper driver sends the next request in the same thread, which
/// waits for the mutex.
fn mutex_closure_completes(mutex: &Mutex<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}

/// The IRQL is raised under a mutex, for a token with which a request can be completed.
fn mutex_closure_raises_the_irql(mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| raise_to_dispatch(irql, |_| ())); //~ E0277
}

/// The value of a mutex is put into a cell outside of the closure.
fn mutex_guarded_value_in_a_cell<'a>(mutex: &'a Mutex<u32>, irql: &mut PassiveLevel) {
    let kept: Cell<Option<&'a mut u32>> = Cell::new(None);
    mutex.with(irql, |value, _| kept.set(Some(value))); //~ E0521
}

/// A DPC waits for a mutex.
fn mutex_in_a_dpc(mutex: &Mutex<u32>, irql: &mut DispatchLevel) {
    mutex.with(irql, |value, _| *value += 1); //~ E0277
}

/// The token of a held mutex is used after the mutex was released.
fn mutex_token_returned<'a>(mutex: &Mutex<u32>, irql: &'a mut PassiveLevel) -> &'a mut ObjectHeld<Unlocked> {
    mutex.with(irql, |_, irql| irql) //~ lifetime
}

/// A thread waits for a mutex under a spin lock.
fn mutex_under_a_spin_lock(lock: &SpinLock<u32>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| {
        mutex.with(held, |value, _| *value += 1); //~ E0277
    });
}

/// A thread acquires a mutex that it holds, which would lend the value twice or hang.
fn mutex_under_itself(mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |outer, irql| {
        mutex.with(irql, |inner, _| core::mem::swap(inner, outer)); //~ E0277
    });
}

/// A mutex's value is used after the mutex was released.
fn mutex_value_kept<'a>(mutex: &'a Mutex<u32>, irql: &mut PassiveLevel) -> &'a mut u32 {
    mutex.with(irql, |value, _| value) //~ lifetime
}

/// A mutex's value becomes one of an inner frame.
fn mutex_value_shortened<'a>(it: &'a Mutex<&'static str>) -> &'a Mutex<&'a str> {
    it //~ lifetime
}

/// A thread waits for an event under a mutex, which is `APC_LEVEL`.
fn waits_under_a_mutex(mutex: &Mutex<u32>, event: &Event, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| event.wait(irql)); //~ E0277
}
