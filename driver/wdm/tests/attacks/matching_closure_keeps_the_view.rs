//! The closure of `remove_matching` keeps the view of an IRP that another thread may complete.

use wdm::{IrpQueue, IrpView, PassiveLevel, QueueCallbacks};

fn remove<C: QueueCallbacks>(queue: &IrpQueue<C>, irql: &mut PassiveLevel) {
    let mut kept: Option<&IrpView<C::Record>> = None;
    let _ = queue.remove_matching(irql, |irp| {
        kept = Some(irp); //~ E0521
        false
    });
    let _ = kept.map(|irp| irp.code());
}
