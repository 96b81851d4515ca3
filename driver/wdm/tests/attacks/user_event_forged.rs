//! A reference to an event is made from an address.

#![forbid(unsafe_code)]

use core::ptr::NonNull;

use wdm::UserEvent;

fn main() {
    let _ = UserEvent { object: NonNull::dangling() }; //~ E0451
}
