//! The current IRP of one `StartIoQueue` is used to start the next IRP of another queue.

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks, StartIoQueue};

fn next<C: QueueCallbacks>(queue: &StartIoQueue<C>, current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = queue.start_next(current, irql); //~ E0599
}
