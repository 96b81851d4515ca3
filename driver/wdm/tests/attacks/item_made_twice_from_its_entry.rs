//! The owner of an item is made twice from its entry.

use wdm::{ListItem, Node, ZoneBox};

fn two(item: ZoneBox<Node<u32>>) -> [ZoneBox<Node<u32>>; 2] {
    let entry = item.into_entry();
    [ZoneBox::from_entry(entry), ZoneBox::from_entry(entry)] //~ E0133
    //~^ E0133
}
