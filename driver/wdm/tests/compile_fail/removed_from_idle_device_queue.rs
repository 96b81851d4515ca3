//! KeRemoveDeviceQueue is not called on a queue that is not busy: it consumes the proof that the queue is busy.

use wdm::{Arrival, Busy, irql::DispatchLevel};

fn finish_twice(busy: Busy<'_, '_, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = busy.remove(irql);
    let _ = busy.remove(irql); //~ E0382
    //~| `busy`
}
