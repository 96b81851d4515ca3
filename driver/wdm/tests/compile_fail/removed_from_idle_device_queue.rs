//! KeRemoveDeviceQueue is not called on a queue that is not busy: it takes the proof of that away.

use wdm::{Busy, DeviceQueue, irql::DispatchLevel};

fn finish_twice(queue: &DeviceQueue<'_, u32>, busy: Busy, irql: &mut DispatchLevel) {
    let _ = queue.remove(busy, irql);
    let _ = queue.remove(busy, irql); //~ E0382
    //~| `busy`
}

fn main() {}
