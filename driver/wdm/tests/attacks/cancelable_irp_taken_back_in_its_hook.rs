//! `current_cancelled`, which runs under the cancel spin lock, takes the request back.

use wdm::{CancelSpinLock, CancelableIrp, QueueCallbacks, irql::SpinLockHeld};

fn hook<C: QueueCallbacks>(served: CancelableIrp<C>, irql: &mut SpinLockHeld<CancelSpinLock>) {
    let _ = served.take_back(irql); //~ E0277
}

fn main() {}
