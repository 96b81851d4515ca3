//! An event is initialised again, in the same place, while a thread can wait for it.

use core::pin::Pin;
use pinned_init::__internal::StackInit;
use wdm::{Event, EventType, PassiveLevel};

fn again(mut slot: Pin<&mut StackInit<Event>>, irql: &mut PassiveLevel) {
    let new = || Event::new(EventType::Notification, false);
    let Ok(event) = slot.as_mut().init(new());
    let Ok(other) = slot.as_mut().init(new()); //~ E0499
    event.as_ref().get_ref().wait(irql);
    other.as_ref().get_ref().wait(irql);
}
