//! A driver orders two classes that are not its own.

#![forbid(unsafe_code)]

use wdm::{CancelSpinLock, IrpQueueLock, lock_order};

lock_order!(CancelSpinLock => existing IrpQueueLock); //~ E0117

fn main() {}
