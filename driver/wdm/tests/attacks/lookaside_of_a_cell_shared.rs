//! Threads share a block that contains a cell.

use core::cell::Cell;

use wdm::LookasideBox;

fn share<T: Sync>() {}

fn run() {
    share::<LookasideBox<Cell<u32>>>(); //~ E0277
}
