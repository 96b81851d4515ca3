//! A stack of `'static` items is used as one of shorter-lived items.

use wdm::{InterlockedStack, Node, ZoneBox};

fn coerce<'a>(it: &'a InterlockedStack<ZoneBox<Node<&'static str>>>) -> &'a InterlockedStack<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}
