//! A driver declares an order of two classes of `wdm`.

use wdm::{CancelSpinLock, IrpQueueLock, lock_order};

lock_order!(CancelSpinLock => existing IrpQueueLock); //~ E0117
