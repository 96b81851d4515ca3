//! A pinned lock is moved.

#![forbid(unsafe_code)]

use core::pin::Pin;
use wdm::SpinLock;

fn moved(one: Pin<&mut SpinLock<u32>>, other: Pin<&mut SpinLock<u32>>) {
    core::mem::swap(Pin::get_mut(one), Pin::get_mut(other)); //~ E0277
    //~^ E0277
}

fn main() {}
