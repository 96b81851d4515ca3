//! A driver orders two classes of `wdm`.

#![forbid(unsafe_code)]

use wdm::{CancelSpinLock, IrpQueueLock, lock_order};

lock_order!(CancelSpinLock => existing IrpQueueLock); //~ E0117

fn main() {}
