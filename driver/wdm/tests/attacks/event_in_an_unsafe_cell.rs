//! An event is initialised in a cell, whose contents are exchanged or taken while they are pinned.

use core::{cell::UnsafeCell, mem::swap, pin::Pin};
use pinned_init::{Wrapper, stack_pin_init};
use wdm::{Event, EventType};

fn exchange(one: Pin<&mut UnsafeCell<Event>>, other: Pin<&mut UnsafeCell<Event>>) {
    let one = one.get_mut(); //~ E0277
    swap(one.get_mut(), other.get_mut().get_mut()); //~ E0277
}

fn taken() -> Event {
    stack_pin_init!(let cell = UnsafeCell::pin_init(Event::new(EventType::Notification, true)));
    Pin::into_inner(cell).into_inner() //~ E0277
}
