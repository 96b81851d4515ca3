//! A reference to an event is made from an address.

use core::ptr::NonNull;

use wdm::UserEvent;

fn attack() {
    let _ = UserEvent { object: NonNull::dangling() }; //~ E0451
}
