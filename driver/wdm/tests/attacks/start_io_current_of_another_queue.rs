//! The current IRP of one `StartIoQueue` is used to start the next IRP of another queue.

#![forbid(unsafe_code)]

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks, StartIoQueue};

fn next<C: QueueCallbacks>(queue: &StartIoQueue<C>, current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = queue.start_next(current, irql); //~ E0599
}

fn main() {}
