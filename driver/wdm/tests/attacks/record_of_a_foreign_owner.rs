//! An owner that is not `Send` is attached to an IRP.

use std::rc::Rc;
use wdm::Irp;

fn attach(irp: Irp<'_>) {
    let _ = irp.with_record(Rc::new(1)); //~ E0277
}
