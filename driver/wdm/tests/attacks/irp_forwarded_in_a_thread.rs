//! A thread takes the IRP of a dispatch routine out of a lock, and forwards it outside of the requestor's thread.

use wdm::{Irp, PassiveLevel, SpinLock, thread};

fn run(irp: Irp<'_>, irql: &mut PassiveLevel) {
    let irp: SpinLock<_> = SpinLock::new_static(Some(irp));
    let _ = thread::run(1, irql, &|_, irql| { //~ E0277
        let irp = irp.with(irql, |irp, _| irp.take());
        let _ = irp.map(|irp| irp.forward(irql));
    });
}
