//! IrqlDispatch: a device queue is used at exactly DISPATCH_LEVEL.

use core::pin::Pin;
use wdm::{DeviceQueue, DeviceQueueNode, PassiveLevel};

fn submit<'n>(
    queue: &DeviceQueue<'n, u32>,
    node: Pin<&'n DeviceQueueNode<u32>>,
    irql: &mut PassiveLevel,
) {
    let _ = queue.insert(node, irql); //~ E0277
    //~| Dispatch
}
