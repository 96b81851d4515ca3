//! Attacks that move a pinned value: `pinned-init` initialises a field of a `repr(packed)` structure, and the
//! compiler moves the field before it drops it.

mod common;

use std::{cell::Cell, convert::Infallible};

use common::{Controlled, Controls, Loaded, stops};
use nt::STATUS_SUCCESS;
use pinned_init::{PinInit, pin_data, stack_try_pin_init, try_pin_init};
use wdm::{
    DeviceQueue, Error, Handled, InterlockedList, Irp, NewDevice, NtStatus, PassiveLevel, PendedIrp,
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
