//! A stack of `'static` items is taken for one of shorter ones.

#![forbid(unsafe_code)]

use wdm::{InterlockedStack, Node, ZoneBox};

fn coerce<'a>(it: &'a InterlockedStack<ZoneBox<Node<&'static str>>>) -> &'a InterlockedStack<ZoneBox<Node<&'a str>>> {
    it //~ lifetime
}

fn main() {}
