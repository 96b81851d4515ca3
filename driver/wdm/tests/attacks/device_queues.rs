//! Attacks on device queues, their nodes and the results of their operations.

use core::pin::Pin;

use pinned_init::stack_pin_init;
use wdm::{
    Arrival, Busy, ByKey, ByKeyIfBusy, DeviceQueue, DeviceQueueNode, Insert, PassiveLevel, Remove,
    irql::DispatchLevel,
};

/// A node is inserted without a key into a queue by key.
fn device_queue_arrival_on_keyed<'n>(queue: &DeviceQueue<'n, u32, ByKey>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert(node, irql); //~ E0599
}

/// A node is inserted at `PASSIVE_LEVEL`.
fn device_queue_below_dispatch_level<'n>(queue: &DeviceQueue<'n, u32>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut PassiveLevel) {
    let _ = queue.insert(node, irql); //~ E0277
}

/// A node is removed with the `Busy` of a `ByKeyIfBusy` queue, which proves nothing.
fn device_queue_busy_of_a_shared_queue(busy: Busy<'_, 'static, u32, ByKeyIfBusy>, irql: &mut DispatchLevel) {
    let _ = busy.remove_by_key(0, irql); //~ E0599
}

/// The proof of one queue is used to remove from another queue.
fn device_queue_busy_of_another_queue(queue: &DeviceQueue<'static, u32>, busy: Busy<'_, 'static, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = queue.remove(busy, irql); //~ E0599
}

/// The proof of a busy queue is used as that of a queue of shorter-lived nodes.
fn device_queue_busy_of_shorter_nodes<'a>(it: Busy<'a, 'static, u32, Arrival>) -> Busy<'a, 'a, u32, Arrival> {
    it //~ lifetime
}

/// The proof of a busy queue is coerced to that of a queue of another order, a supertype.
fn device_queue_busy_order_shortened<'a>(it: Busy<'a, 'a, u32, &'static str>) -> Busy<'a, 'a, u32, &'a str> {
    it //~ lifetime
}

/// The proof that a queue is busy is used twice.
fn device_queue_busy_used_twice(busy: Busy<'_, 'static, u32, Arrival>, irql: &mut DispatchLevel) {
    let _ = busy.remove(irql);
    let _ = busy.remove(irql); //~ E0382
}

/// The proof of a busy queue is used as that of a queue of shorter-lived values.
fn device_queue_busy_value_shortened<'a>(it: Busy<'a, 'a, &'static str, Arrival>) -> Busy<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}

/// The result of an insertion is used as that of a queue of shorter-lived nodes.
fn device_queue_insert_of_shorter_nodes<'a>(it: Insert<'a, 'static, u32, Arrival>) -> Insert<'a, 'a, u32, Arrival> {
    it //~ lifetime
}

/// The result of an insertion is coerced to that of a queue of another order, a supertype.
fn device_queue_insert_order_shortened<'a>(it: Insert<'a, 'a, u32, &'static str>) -> Insert<'a, 'a, u32, &'a str> {
    it //~ lifetime
}

/// The result of an insertion is coerced to that of a queue with shorter-lived values.
fn device_queue_insert_value_shortened<'a>(it: Insert<'a, 'a, &'static str, Arrival>) -> Insert<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}

/// A node is inserted by key into a queue in order of arrival.
fn device_queue_keyed_on_arrival<'n>(queue: &DeviceQueue<'n, u32, Arrival>, node: Pin<&'n DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert_by_key(node, 1, irql); //~ E0599
}

/// A node's value is changed through an exclusive reference while the node is queued.
fn device_queue_node_changed_while_queued<'n>(queue: &DeviceQueue<'n, u32>, mut node: Pin<&'n mut DeviceQueueNode<u32>>, irql: &mut DispatchLevel) {
    let _ = queue.insert(node.as_ref(), irql); //~ E0597
    let _ = node.as_mut(); //~ E0502
}

/// A node that is declared after its queue is dropped before it.
fn device_queue_node_dropped_before_its_queue(irql: &mut DispatchLevel) {
    stack_pin_init!(let queue = DeviceQueue::<u32>::new());
    stack_pin_init!(let node = DeviceQueueNode::new(1)); //~ E0716
    //~^ E0716
    let _ = queue.insert(node.as_ref(), irql);
}

/// A node that is not pinned is inserted.
fn device_queue_node_not_pinned<'n>(queue: &DeviceQueue<'n, u32>, node: &'n DeviceQueueNode<u32>, irql: &mut DispatchLevel) {
    let _ = queue.insert(core::pin::Pin::new(node), irql); //~ E0277
}

/// A node of an inner stack frame is inserted, and is gone when the queue is used again.
fn device_queue_node_of_an_inner_frame(irql: &mut DispatchLevel) {
    stack_pin_init!(let queue = DeviceQueue::<u32>::new());
    {
        stack_pin_init!(let node = DeviceQueueNode::new(1)); //~ E0716
        //~^ E0716
        let _ = queue.insert(node.as_ref(), irql);
    }
}

/// A pinned node is moved.
fn device_queue_node_pin_undone(node: Pin<&mut DeviceQueueNode<u32>>, other: DeviceQueueNode<u32>) {
    *node.get_mut() = other; //~ E0277
}

/// A device queue is coerced to one of another order, a supertype.
fn device_queue_order_shortened<'a>(it: &'a DeviceQueue<'a, u32, &'static str>) -> &'a DeviceQueue<'a, u32, &'a str> {
    it //~ lifetime
}

/// The result of a removal is used as that of a queue of shorter-lived nodes.
fn device_queue_remove_of_shorter_nodes<'a>(it: Remove<'a, 'static, u32, Arrival>) -> Remove<'a, 'a, u32, Arrival> {
    it //~ lifetime
}

/// The result of a removal is coerced to that of a queue of another order, a supertype.
fn device_queue_remove_order_shortened<'a>(it: Remove<'a, 'a, u32, &'static str>) -> Remove<'a, 'a, u32, &'a str> {
    it //~ lifetime
}

/// The result of a removal is used as that of a queue of shorter-lived values.
fn device_queue_remove_value_shortened<'a>(it: Remove<'a, 'a, &'static str, Arrival>) -> Remove<'a, 'a, &'a str, Arrival> {
    it //~ lifetime
}

/// A device queue of long-lived nodes is used as one of nodes of an inner stack frame.
fn device_queue_shortened<'a>(it: &'a DeviceQueue<'static, u32>) -> &'a DeviceQueue<'a, u32> {
    it //~ lifetime
}

/// A device queue is coerced to one whose values have a shorter lifetime.
fn device_queue_value_shortened<'a>(it: &'a DeviceQueue<'a, &'static str>) -> &'a DeviceQueue<'a, &'a str> {
    it //~ lifetime
}
