//! `Shared` is covariant; the list in it stays what it is.

use wdm::{InterlockedList, Node, Shared, ZoneBox};

fn coerce<'a>(it: Shared<InterlockedList<ZoneBox<Node<&'static str>>>>) -> Shared<InterlockedList<ZoneBox<Node<&'a str>>>> {
    it //~ lifetime
}
