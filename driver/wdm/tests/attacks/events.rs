//! Attacks on events.

use core::pin::Pin;
use core::time::Duration;

use wdm::{Event, PassiveLevel, SpinLock, thread, irql::DispatchLevel};

/// An event is replaced while a thread waits for it.
fn event_moved_while_waited_for(one: Pin<&mut Event>, other: Pin<&mut Event>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277
    //~^ E0277
}

/// A DPC waits for an event.
fn event_waited_for_in_a_dpc(event: &Event, irql: &mut DispatchLevel) -> bool {
    event.wait_for(Duration::from_millis(1), irql) //~ E0277
}

/// A thread waits for an event while it holds a spin lock.
fn event_waited_for_under_a_lock(lock: &SpinLock<u32>, event: &Event, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| event.wait(held)); //~ E0277
}

/// A DPC waits for system threads.
fn wait_in_a_dpc(irql: &mut DispatchLevel) {
    let _ = thread::run(1, irql, &|_, _| ()); //~ E0308
}
