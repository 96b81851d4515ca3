//! Owners in two threads share a value that is not `Sync`.

use core::cell::Cell;

fn send(_: impl Send) {}
fn sent(shared: wdm::Shared<Cell<u32>>) {
    send(shared.clone()); //~ E0277
}
