//! Attacks that move a pinned value: `pinned-init` initialises a field of a `repr(packed)` structure, and the
//! compiler moves the field before it drops it; or a structure is movable in spite of a pinned field, since the names in the type of
//! that field have another meaning where `pin_data` decides.
//!
//! `wdm` cannot prevent the other mistakes of version 0.0.10, since drivers use its macros themselves: a crate that renames itself to `core`
//! replaces what the macros mean by it; so does a function named `Ok` in scope, with which an initialiser reports success too early; and a
//! constant named `ensure_zeroable` in a field's type lets `derive(Zeroable)` accept the structure. `zerocopy` 0.8.63 has the
//! same kinds: `#[zerocopy(crate = ...)]`, or a crate of that name, replaces its checks for padding and alignment; and so does a field of
//! an enum whose type is named like an item of the derive (`___ZerocopyTag`).

mod common;

use std::{cell::Cell, convert::Infallible, marker::PhantomData, mem, pin::Pin, process};

use common::{Controlled, Controls, Loaded, stops};
use nt::STATUS_SUCCESS;
use pinned_init::{
    __internal::PinData, PinInit, pin_data, stack_pin_init, stack_try_pin_init, try_pin_init,
};
use wdm::{
    ByKey, DeviceQueue, DeviceQueueNode, Error, Event, EventType, Handled, InterlockedList, Irp,
    Mutex, NewDevice, NtStatus, PassiveLevel, PendedIrp, irql::raise_to_dispatch,
};

thread_local! {
    static ATTACK: Cell<Option<fn(&mut PassiveLevel)>> = const { Cell::new(None) };
}

/// A device that runs the attack.
struct Attacked;

impl Controls for Attacked {
    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self)
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        ATTACK.take().expect("an attack")(irql);
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

/// Runs an attack and checks that it stops with `DRIVER_VIOLATION` for a moved value.
fn is_found(name: &str, attack: fn(&mut PassiveLevel)) {
    stops(name, "STOP: 0x00000121 (0x2", || {
        let driver = Loaded::new::<Controlled<Attacked>>();
        ATTACK.set(Some(attack));
        assert_eq!(driver.send(0x22_2000, 1).answer(), STATUS_SUCCESS);
    });
}

/// A structure that moves its field before it drops it.
#[pin_data]
#[repr(C, packed)]
struct Packed<T> {
    #[pin]
    field: T,
}

/// Drops a value that was pinned in a [`Packed`].
fn drop_packed<T, E>(field: impl PinInit<T, E>) {
    stack_try_pin_init!(let packed: Packed<T> = try_pin_init!(Packed { field <- field }? E));
    assert!(packed.is_ok());
}

#[test]
fn an_interlocked_list_is_moved_and_dropped() {
    is_found("an_interlocked_list_is_moved_and_dropped", |_| {
        drop_packed::<InterlockedList<PendedIrp>, Infallible>(InterlockedList::new());
    });
}

#[test]
fn a_device_queue_is_moved_and_dropped() {
    is_found("a_device_queue_is_moved_and_dropped", |_| {
        drop_packed::<DeviceQueue<'static, u32>, Infallible>(DeviceQueue::new());
    });
}

/// The value, and the error type of its initialiser.
#[pin_data]
struct Inside<T> {
    #[pin]
    value: T,
}

impl<T> From<Infallible> for Inside<T> {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The type of [`Movable`]'s field. `pin_data` defines another `__ThePinData`, for which it is the parameter. This is `E` where the
/// macro decides whether the structure is movable, and a generic parameter of that name where it initialises the field.
trait TypeOfField<X> {
    type Type;
}

struct __ThePinData<T>(PhantomData<T>);

struct E;

impl<T> TypeOfField<E> for __ThePinData<T> {
    type Type = Inside<T>;
}

impl<D: PinData, X> TypeOfField<X> for D {
    type Type = X;
}

/// A structure that can be moved while its field is pinned.
#[pin_data]
struct Movable<T> {
    #[pin]
    inside: <__ThePinData<T> as TypeOfField<E>>::Type,
}

/// Exchanges two pinned values, and uses one of them.
fn exchange<T, I: PinInit<T>>(make: impl Fn() -> I, mut using: impl FnMut(&T)) {
    let movable = || {
        let value = make();
        let inside = try_pin_init!(Inside { value <- value }? Inside<T>);
        try_pin_init!(Movable { inside <- inside }? Inside<T>)
    };
    stack_try_pin_init!(let one: Movable<T> = movable());
    stack_try_pin_init!(let other: Movable<T> = movable());
    let (Ok(one), Ok(other)) = (one, other) else {
        panic!("an initialiser failed");
    };
    let one = Pin::into_inner(one);
    mem::swap(one, Pin::into_inner(other));
    using(&one.inside.value);
    // The use of the moved value was not detected. Its drop may detect the move, which is too late.
    process::exit(0);
}

fn event() -> impl PinInit<Event> {
    Event::new(EventType::Notification, true)
}

#[test]
fn an_event_is_moved_and_set() {
    is_found("an_event_is_moved_and_set", |irql| {
        exchange(event, |event| {
            event.set(irql);
        });
    });
}

#[test]
fn an_event_is_moved_and_cleared() {
    is_found("an_event_is_moved_and_cleared", |irql| {
        exchange(event, |event| event.clear(irql));
    });
}

#[test]
fn an_event_is_moved_and_waited_for() {
    is_found("an_event_is_moved_and_waited_for", |irql| {
        exchange(event, |event| event.wait(irql));
    });
}

#[test]
fn a_mutex_is_moved_and_acquired() {
    is_found("a_mutex_is_moved_and_acquired", |irql| {
        exchange(|| Mutex::new(1), |mutex| mutex.with(irql, |_, _| ()));
    });
}

#[test]
fn an_interlocked_list_is_moved_and_used() {
    is_found("an_interlocked_list_is_moved_and_used", |_| {
        exchange(InterlockedList::<PendedIrp>::new, |list| {
            assert!(list.remove_head().is_none());
        });
    });
}

#[test]
fn a_device_queue_is_moved_and_used() {
    is_found("a_device_queue_is_moved_and_used", |irql| {
        stack_pin_init!(let node = DeviceQueueNode::new(1));
        let node = node.as_ref();
        exchange(DeviceQueue::<u32, ByKey>::new, |queue| {
            raise_to_dispatch(irql, |irql| drop(queue.insert_by_key(node, 0, irql)));
        });
    });
}
