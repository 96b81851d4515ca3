//! An event is replaced while a thread waits for it.

use core::pin::Pin;

use wdm::Event;

fn replace(one: Pin<&mut Event>, other: Pin<&mut Event>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277
    //~^ E0277
}
