//! A node is inserted by key into a queue in order of arrival.

use core::pin::Pin;
use wdm::{Arrival, DeviceQueue, DeviceQueueNode, irql::DispatchLevel};

fn insert<'n>(queue: &DeviceQueue<'n, u32, Arrival>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert_by_key(node, 1, irql); //~ E0599
}
