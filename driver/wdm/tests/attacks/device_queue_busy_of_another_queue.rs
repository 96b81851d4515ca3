//! The `Busy` of one device queue is used to remove from another one.

use wdm::{Arrival, Busy, DeviceQueue, irql::DispatchLevel};

fn remove(queue: &DeviceQueue<'static, u32>, busy: Busy<'_, 'static, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = queue.remove(busy, irql); //~ E0599
}
