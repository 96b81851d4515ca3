//! A reference to an event is released twice.

#![forbid(unsafe_code)]

use wdm::UserEvent;

fn twice(event: &UserEvent) -> UserEvent {
    event.clone() //~ E0308
}

fn main() {}
