//! An IRP is used after it was queued, when other threads may complete it.

use wdm::{Handled, Irp, IrpQueue, PassiveLevel, QueueCallbacks};

fn insert<'irp, C: QueueCallbacks>(queue: &IrpQueue<C>, irp: Irp<'irp, C::Record>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let handled = queue.insert(irp, irql);
    let _ = irp.code(); //~ E0382
    handled
}
