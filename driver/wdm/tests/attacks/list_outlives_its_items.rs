//! A list holds items that borrow from a stack frame which ends before the list.

use pinned_init::stack_pin_init;
use wdm::{InterlockedList, Node, Zone, ZoneBox};

fn insert(zone: &Zone<Node<&'static u32>>) {
    stack_pin_init!(let list = InterlockedList::<ZoneBox<Node<&'static u32>>>::new());
    let local = 1;
    if let Some(item) = zone.allocate(Node::new(&local)) { //~ E0597
        list.insert_tail(item);
    }
}
