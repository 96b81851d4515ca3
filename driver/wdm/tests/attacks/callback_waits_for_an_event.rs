//! A queue's callback waits for an event, for the mutex of a thread that removes the device, or for a time interval.

use core::time::Duration;

use wdm::{Event, IrpView, Mutex, NtStatus, QueueCallbacks, Rundown, Shared, irql::ObjectHeld, thread};

struct Mine {
    event: Shared<Event>,
    mutex: Shared<Mutex<u32>>,
    value: Shared<Rundown<u32>>,
}

impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.event.wait(irql); //~ E0277
        self.mutex.with(irql, |_, _| {}); //~ E0277
        self.value.run_down(irql); //~ E0277
        thread::delay(Duration::ZERO, irql); //~ E0277
    }
}
