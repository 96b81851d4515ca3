//! A value that threads may not share is accessed by several at a time.

#![forbid(unsafe_code)]

use core::cell::Cell;

use wdm::Rundown;

fn share<T: Sync>() {}

fn main() {
    share::<Rundown<Cell<u32>>>(); //~ E0277
}
