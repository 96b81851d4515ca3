//! A class comes after a queue's lock and before it.

#![forbid(unsafe_code)]

use wdm::{IrpQueueLock, lock_order};

struct Mine;
lock_order!(IrpQueueLock => Mine);
lock_order!(Mine => existing IrpQueueLock); //~ E0080

fn main() {}
