//! A DPC waits as a thread's routine does, and code that holds an object starts a thread.

use core::time::Duration;

use wdm::{
    Thread, ThreadRoutine,
    irql::{DispatchLevel, ObjectHeld},
};

fn wait<C: ThreadRoutine>(thread: &Thread<C>, irql: &mut DispatchLevel) {
    thread.wait(irql); //~ E0277
    thread.wait_for(Duration::ZERO, irql); //~ E0277
}

fn start<C: ThreadRoutine>(thread: &Thread<C>, irql: &mut ObjectHeld) {
    let _ = thread.start(irql); //~ E0277
}
