//! A node is inserted without a key into a queue by key.

use core::pin::Pin;
use wdm::{ByKey, DeviceQueue, DeviceQueueNode, irql::DispatchLevel};

fn insert<'n>(queue: &DeviceQueue<'n, u32, ByKey>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert(node, irql); //~ E0599
}
