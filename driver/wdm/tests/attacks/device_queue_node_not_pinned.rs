//! A node that is not pinned is inserted.

use wdm::{DeviceQueue, DeviceQueueNode, irql::DispatchLevel};

fn insert<'n>(queue: &DeviceQueue<'n, u32>, node: &'n DeviceQueueNode<u32>, irql: &mut DispatchLevel) {
    let _ = queue.insert(core::pin::Pin::new(node), irql); //~ E0277
}
