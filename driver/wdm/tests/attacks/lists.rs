//! Attacks on interlocked lists and their items.

use std::rc::Rc;

use pinned_init::stack_pin_init;
use wdm::{InterlockedList, InterlockedStack, ListItem, Node, Zone, ZoneBox};

/// A list of short-lived items is used as one of `'static` items.
fn interlocked_list_lengthened<'a>(it: &'a InterlockedList<ZoneBox<Node<&'a str>>>) -> &'a InterlockedList<ZoneBox<Node<&'static str>>> {
    it //~ lifetime
}

/// A list of `'static` items is used as one of shorter-lived items, and returns a local as `'static`.
fn interlocked_list_shortened<'a>(it: &'a InterlockedList<ZoneBox<Node<&'static str>>>) -> &'a InterlockedList<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}

/// A stack of `'static` items is used as one of shorter-lived items.
fn interlocked_stack_shortened<'a>(it: &'a InterlockedStack<ZoneBox<Node<&'static str>>>) -> &'a InterlockedStack<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}

/// An item is dropped while it is on a list.
fn item_dropped_while_listed(list: &InterlockedList<ZoneBox<Node<u32>>>, item: ZoneBox<Node<u32>>) {
    list.insert_head(item);
    drop(item); //~ E0382
}

/// A list moves a value that is not `Send` to another thread.
fn item_for_one_thread_on_a_list(_: &InterlockedList<ZoneBox<Node<Rc<u32>>>>) {} //~ E0277

/// A reference into an item is kept while it is on a list.
fn item_kept_while_listed(stack: &InterlockedStack<ZoneBox<Node<u32>>>, item: ZoneBox<Node<u32>>) -> u32 {
    let value: &u32 = &item;
    stack.push(item); //~ E0505
    *value
}

/// The owner of an item is made twice from its entry.
fn item_made_twice_from_its_entry(item: ZoneBox<Node<u32>>) -> [ZoneBox<Node<u32>>; 2] {
    let entry = item.into_entry();
    [ZoneBox::from_entry(entry), ZoneBox::from_entry(entry)] //~ E0133
    //~^ E0133
}

/// A value without a list entry is inserted.
fn item_on_a_list_without_a_node(_: &InterlockedList<ZoneBox<u64>>) {} //~ E0277

/// A list holds items that borrow from a stack frame which ends before the list.
fn list_outlives_its_items(zone: &Zone<Node<&'static u32>>) {
    stack_pin_init!(let list = InterlockedList::<ZoneBox<Node<&'static u32>>>::new());
    let local = 1;
    if let Some(item) = zone.allocate(Node::new(&local)) { //~ E0597
        list.insert_tail(item);
    }
}
