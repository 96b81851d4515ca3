//! A reference to an event is released twice.

use wdm::UserEvent;

fn twice(event: &UserEvent) -> UserEvent {
    event.clone() //~ E0308
}
