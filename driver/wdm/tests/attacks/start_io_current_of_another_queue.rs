//! The IRP of one `StartIoQueue` starts the next of another: there is no way to say so.

#![forbid(unsafe_code)]

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks, StartIoQueue};

fn next<C: QueueCallbacks>(queue: &StartIoQueue<C>, current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = queue.start_next(current, irql); //~ E0599
}

fn main() {}
