//! A block of a zone whose value is not `Send` is sent to another thread.

use std::rc::Rc;
use wdm::ZoneBox;

fn send(_: impl Send) {}
fn sent(block: ZoneBox<Rc<u32>>) {
    send(block); //~ E0277
}
