//! A thread whose routine lets two other threads wait: all of the waits end when it is requested to stop.

mod common;

use std::sync::Arc;

use common::start;
use ntmodel::{Kernel, explore};
use pinned_init::PinInit;
use wdm::{Device, Error, Guid, NewDevice, PassiveLevel, Thread, ThreadRoutine, thread};

struct Waiters;

impl ThreadRoutine for Waiters {
    fn run(this: &Thread<Self>, irql: &mut PassiveLevel) {
        let waiter = |_, irql: &mut PassiveLevel| while this.wait(irql) {};
        thread::run(2, irql, &waiter).expect("two threads start");
    }
}

struct Waiting {
    _thread: Thread<Waiters>,
}

impl Device for Waiting {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let thread = Thread::new(Ok::<_, Error>(Waiters), device, irql)?;
        thread.start(irql)?;
        Ok(Ok::<_, Error>(Self { _thread: thread }))
    }
}

#[test]
fn every_waiter_is_requested_to_stop() {
    explore::check(500, |kernel: &Arc<Kernel>| {
        start::<Waiting>(kernel).unload();
    });
}
