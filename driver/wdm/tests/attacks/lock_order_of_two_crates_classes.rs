//! A class of `wdm` is placed after another one of it a second time.

use wdm::{CancelSpinLock, IrpQueueLock, lock_order};

lock_order!(CancelSpinLock => existing IrpQueueLock); //~ E0117
