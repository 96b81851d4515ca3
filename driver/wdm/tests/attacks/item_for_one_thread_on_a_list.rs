//! A value that belongs to one thread is handed over by a list.

#![forbid(unsafe_code)]

use std::rc::Rc;
use wdm::{InterlockedList, Node, ZoneBox};

fn none(_: &InterlockedList<ZoneBox<Node<Rc<u32>>>>) {} //~ E0277

fn main() {}
