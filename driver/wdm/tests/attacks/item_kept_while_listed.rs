//! A reference into an item is kept while it is on a list.

use wdm::{InterlockedStack, Node, ZoneBox};

fn keep(stack: &InterlockedStack<ZoneBox<Node<u32>>>, item: ZoneBox<Node<u32>>) -> u32 {
    let value: &u32 = &item;
    stack.push(item); //~ E0505
    *value
}
