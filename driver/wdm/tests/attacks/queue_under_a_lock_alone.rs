//! A queue is asked for its length under a lock that has no place before it.

#![forbid(unsafe_code)]

use wdm::{IrpQueue, PassiveLevel, QueueCallbacks, SpinLock};

fn length<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| queue.length(held)); //~ E0271
}

fn main() {}
