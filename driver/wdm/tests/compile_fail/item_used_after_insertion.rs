//! MarkingInterlockedQueuedIrps: an interlocked list owns its items, which are neither used nor inserted again.

use wdm::{InterlockedList, Node, ZoneBox};

fn on_two_lists(
    one: &InterlockedList<ZoneBox<Node<u32>>>,
    other: &InterlockedList<ZoneBox<Node<u32>>>,
    item: ZoneBox<Node<u32>>,
) {
    one.insert_tail(item);
    other.insert_tail(item); //~ E0382
    //~| `item`
}
