//! A pinned node is moved.

use core::pin::Pin;
use wdm::DeviceQueueNode;

fn moved(node: Pin<&mut DeviceQueueNode<u32>>, other: DeviceQueueNode<u32>) {
    *node.get_mut() = other; //~ E0277
}
