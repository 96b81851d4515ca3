//! A queue's callback purges a `StartIoQueue` or takes back the IRP that it serves, so that the queue calls the callback again.

use std::sync::OnceLock;

use wdm::{
    CancelableIrp, IrpView, NtStatus, QueueCallbacks, Shared, SpinLock, StartIoQueue,
    irql::ObjectHeld,
};

struct Mine {
    queue: OnceLock<Shared<StartIoQueue<Mine>>>,
    served: SpinLock<Option<CancelableIrp<Mine>>>,
}

impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, status: NtStatus, irql: &mut ObjectHeld) {
        if let Some(queue) = self.queue.get() {
            queue.purge(status, irql); //~ E0277
        }
        if let Some(served) = self.served.with(irql, |served, _| served.take()) {
            drop(served.take_back(irql)); //~ E0277
        }
    }
}
