//! A list of `'static` items is taken for one of shorter ones, and gives a local back as `'static`.

#![forbid(unsafe_code)]

use wdm::{InterlockedList, Node, ZoneBox};

fn coerce<'a>(it: &'a InterlockedList<ZoneBox<Node<&'static str>>>) -> &'a InterlockedList<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}

fn main() {}
