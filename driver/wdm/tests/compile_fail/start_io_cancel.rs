//! StartIoCancel: an IRP that is to be started is not cancelable any more: it is no IRP that waits on the queue.

use wdm::{CurrentIrp, NtStatus, QueueCallbacks, irql::DispatchLevel};

fn cancel<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut DispatchLevel) {
    current.complete(NtStatus::CANCELLED, irql); //~ E0599
    //~| `complete`
}

fn main() {}
