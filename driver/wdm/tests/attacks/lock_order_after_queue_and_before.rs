//! A class comes both after and before the lock of a queue.

use wdm::{IrpQueueLock, lock_order};

struct Mine;
lock_order!(IrpQueueLock => Mine);
lock_order!(Mine => existing IrpQueueLock); //~ E0080
