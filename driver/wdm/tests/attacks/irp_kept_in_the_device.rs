//! A device keeps the IRP of a call in its state.

use core::cell::RefCell;

use wdm::Irp;

struct Keeps(RefCell<Option<Irp<'static>>>);

fn keep(state: &Keeps, irp: Irp<'_>) {
    *state.0.borrow_mut() = Some(irp); //~ E0521
}
