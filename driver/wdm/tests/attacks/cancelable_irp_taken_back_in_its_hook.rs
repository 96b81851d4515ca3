//! A request is taken back by the hook that is told of its cancellation, under the cancel spin lock.

#![forbid(unsafe_code)]

use wdm::{CancelSpinLock, CancelableIrp, QueueCallbacks, irql::SpinLockHeld};

fn hook<C: QueueCallbacks>(served: CancelableIrp<C>, irql: &mut SpinLockHeld<CancelSpinLock>) {
    let _ = served.take_back(irql); //~ E0277
}

fn main() {}
