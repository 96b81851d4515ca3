//! Attacks on the events that user mode passes by their handles.

use wdm::{Irp, Mutex, PassiveLevel, PendedIrp, SpinLock, UserEvent, thread, irql::DispatchLevel};

/// A reference to an event is released twice.
fn user_event_cloned(event: &UserEvent) -> UserEvent {
    event.clone() //~ E0308
}

/// A handle is looked up at `DISPATCH_LEVEL`.
fn user_event_in_a_dpc(irp: &Irp<'_>, irql: &mut DispatchLevel) {
    let _ = irp.user_event(4, irql); //~ E0277
}

/// A handle of the requestor's is looked up in a system thread, whose process is that of the kernel's own handles.
fn user_event_in_a_thread(irp: &Irp<'_>, irql: &mut PassiveLevel) {
    let _ = thread::run(1, irql, &|_, irql| drop(irp.user_event(4, irql))); //~ E0277
}

/// A handle is looked up while a spin lock or a mutex is held, so at a raised IRQL.
fn user_event_looked_up_under_a_lock(irp: &Irp<'_>, lock: &SpinLock<()>, mutex: &Mutex<()>, irql: &mut PassiveLevel) {
    lock.with(irql, |(), irql| drop(irp.user_event(4, irql))); //~ E0277
    mutex.with(irql, |(), irql| drop(irp.user_event(4, irql))); //~ E0277
}

/// The handle of a pended request is looked up later, in the process of whichever thread runs then.
fn user_event_of_a_pended_irp(irp: &PendedIrp, irql: &mut PassiveLevel) {
    let _ = irp.user_event(4, irql); //~ E0599
}
