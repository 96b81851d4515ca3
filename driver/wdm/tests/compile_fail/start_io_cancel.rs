//! StartIoCancel: an IRP that is started is no longer cancelable, and has another type than a queued IRP.

use wdm::{CurrentIrp, NtStatus, QueueCallbacks, irql::DispatchLevel};

fn cancel<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut DispatchLevel) {
    current.complete(NtStatus::CANCELLED, irql); //~ E0599
    //~| `complete`
}
