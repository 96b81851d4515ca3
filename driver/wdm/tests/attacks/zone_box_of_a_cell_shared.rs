//! Threads share a block of a zone whose value is not `Sync`.

use core::cell::Cell;
use wdm::ZoneBox;

fn share(_: &(impl Sync + ?Sized)) {}
fn shared(block: ZoneBox<Cell<u32>>) {
    share(&block); //~ E0277
}
