//! A value that threads may not share is accessed by several at a time.

use core::cell::Cell;

use wdm::Rundown;

fn share<T: Sync>() {}

fn attack() {
    share::<Rundown<Cell<u32>>>(); //~ E0277
}
