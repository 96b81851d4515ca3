//! A node's value is changed through an exclusive reference while the node is queued.

use core::pin::Pin;
use wdm::{DeviceQueue, DeviceQueueNode, irql::DispatchLevel};

fn insert<'n>(queue: &DeviceQueue<'n, u32>, mut node: Pin<&'n mut DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert(node.as_ref(), irql); //~ E0597
    let _ = node.as_mut(); //~ E0502
}
