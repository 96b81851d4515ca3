//! A list moves a value that is not `Send` to another thread.

use std::rc::Rc;
use wdm::{InterlockedList, Node, ZoneBox};

fn none(_: &InterlockedList<ZoneBox<Node<Rc<u32>>>>) {} //~ E0277
