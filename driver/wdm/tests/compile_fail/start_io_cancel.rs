//! StartIoCancel: an IRP that is to be started is not cancelable any more: it is no IRP that waits on the queue.

use wdm::{CurrentIrp, NtStatus, irql::DispatchLevel};

fn cancel(current: CurrentIrp, irql: &mut DispatchLevel) {
    current.complete(NtStatus::CANCELLED, irql); //~ E0599
    //~| `complete`
}

fn main() {}
