//! An item is dropped while it is on a list.

use wdm::{InterlockedList, Node, ZoneBox};

fn free(list: &InterlockedList<ZoneBox<Node<u32>>>, item: ZoneBox<Node<u32>>) {
    list.insert_head(item);
    drop(item); //~ E0382
}
