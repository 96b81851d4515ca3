//! The next IRP is started under a lock, where the queue may have to complete a cancelled IRP.

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks, SpinLock};

fn next<C: QueueCallbacks>(lock: &SpinLock<u32>, irp: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = lock.with(irql, |_, held| irp.start_next(held)); //~ E0277
}
