//! A list of short-lived items is used as one of `'static` items.

use wdm::{InterlockedList, Node, ZoneBox};

fn coerce<'a>(it: &'a InterlockedList<ZoneBox<Node<&'a str>>>) -> &'a InterlockedList<ZoneBox<Node<&'static str>>> {
    it //~ lifetime
}
