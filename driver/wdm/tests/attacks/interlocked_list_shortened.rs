//! A list of `'static` items is used as one of shorter-lived items, and returns a local as `'static`.

use wdm::{InterlockedList, Node, ZoneBox};

fn coerce<'a>(it: &'a InterlockedList<ZoneBox<Node<&'static str>>>) -> &'a InterlockedList<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}
