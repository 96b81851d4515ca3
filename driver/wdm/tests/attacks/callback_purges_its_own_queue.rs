//! A queue's callback completes the other IRPs of the queue, which calls it again for each of them, until the stack overflows.

use std::sync::OnceLock;

use wdm::{IrpQueue, IrpView, NtStatus, QueueCallbacks, Shared, irql::ObjectHeld};

struct Mine(OnceLock<Shared<IrpQueue<Mine>>>);
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, status: NtStatus, irql: &mut ObjectHeld) {
        if let Some(queue) = self.0.get() {
            queue.purge(status, irql); //~ E0277
            //~| no IRP can be completed
            while let Some(irp) = queue.remove_first(irql) {
                queue.insert_pended(irp, irql); //~ E0277
            }
            while let Some(irp) = queue.remove_first(irql) {
                queue.put_back(irp, irql); //~ E0277
            }
        }
    }
}
