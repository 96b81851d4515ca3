//! A handle of the requestor's is looked up in a system thread, whose process is that of the kernel's own handles.

use wdm::{Irp, PassiveLevel, thread};

fn run(irp: &Irp<'_>, irql: &mut PassiveLevel) {
    let _ = thread::run(1, irql, &|_, irql| drop(irp.user_event(4, irql))); //~ E0277
}
