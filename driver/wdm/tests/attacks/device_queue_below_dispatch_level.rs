//! A node is inserted at `PASSIVE_LEVEL`.

use core::pin::Pin;
use wdm::{DeviceQueue, DeviceQueueNode, PassiveLevel};

fn insert<'n>(queue: &DeviceQueue<'n, u32>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut PassiveLevel) {
    let _ = queue.insert(node, irql); //~ E0277
}
