//! A pinned lock is moved.

use core::pin::Pin;
use wdm::SpinLock;

fn moved(one: Pin<&mut SpinLock<u32>>, other: Pin<&mut SpinLock<u32>>) {
    core::mem::swap(Pin::get_mut(one), Pin::get_mut(other)); //~ E0277
    //~^ E0277
}
