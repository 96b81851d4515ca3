//! Values of `wdm` are made by their fields, which are private.

use core::{marker::PhantomData, ptr::NonNull};

use wdm::{Arrival, Busy, DeviceQueue, Handled, Irp, IrpView, PassiveLevel, Reply, UserEvent};

/// The driver makes the proof that a queue is busy itself.
fn device_queue_busy_forged<'q, 'n>(queue: &'q DeviceQueue<'n, u32>) -> Busy<'q, 'n, u32, Arrival> {
    Busy { queue } //~ E0451
}

/// The driver makes the proof that an IRP was handled itself.
fn handled_forged<'irp>(irp: Irp<'irp>) -> Handled<'irp> {
    core::mem::forget(irp);
    Handled { status: 0x103, _mark: PhantomData } //~ E0451
}

/// A reply is made for a view of an IRP, which its owner completes.
fn reply_of_a_view(irp: &IrpView) -> Reply<&IrpView> {
    Reply { owner: irp, length: 0 } //~ E0451
}

/// A token is made with a struct literal.
fn token_by_literal() {
    let _ = PassiveLevel { _not_send: PhantomData }; //~ E0451
}

/// A reference to an event is made from an address.
fn user_event_forged() {
    let _ = UserEvent { object: NonNull::dangling() }; //~ E0451
}
