//! A queue without a device is made on the stack.

#![forbid(unsafe_code)]

use wdm::{IrpQueue, QueueCallbacks};

fn make<C: QueueCallbacks>(callbacks: C) -> IrpQueue<C> {
    IrpQueue { callbacks } //~ E0451
    //~^ E0063
}

fn main() {}
