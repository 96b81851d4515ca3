//! The IRP of a call is kept in a variable of the thread.

use std::cell::RefCell;

use wdm::Irp;

thread_local! {
    static KEPT: RefCell<Option<Irp<'static>>> = const { RefCell::new(None) };
}

fn keep(irp: Irp<'_>) {
    KEPT.set(Some(irp)); //~ E0521
}
