//! A node of an inner stack frame is inserted, and no longer exists when the queue is used again.

use pinned_init::stack_pin_init;
use wdm::{DeviceQueue, DeviceQueueNode, irql::DispatchLevel};

fn insert(irql: &mut DispatchLevel) {
    stack_pin_init!(let queue = DeviceQueue::<u32>::new());
    {
        stack_pin_init!(let node = DeviceQueueNode::new(1)); //~ E0716
        //~^ E0716
        let _ = queue.insert(node.as_ref(), irql);
    }
}
