//! A block of a zone goes to another thread though its value must not.

#![forbid(unsafe_code)]

use std::rc::Rc;
use wdm::ZoneBox;

fn send(_: impl Send) {}
fn sent(block: ZoneBox<Rc<u32>>) {
    send(block); //~ E0277
}

fn main() {}
