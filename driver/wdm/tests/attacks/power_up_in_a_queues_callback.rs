//! A queue's callback powers the device up, which could call the device, which completes the next IRP of the queue.

use wdm::{IrpView, NtStatus, PowerPolicy, PowerReference, QueueCallbacks, irql::ObjectHeld};

struct Mine(PowerPolicy);
impl QueueCallbacks for Mine {
    type Record = PowerReference;

    fn before_completion(&self, _: &IrpView<PowerReference>, _: NtStatus, irql: &mut ObjectHeld) {
        let _ = self.0.power_up(irql); //~ E0277
        self.0.retry(irql); //~ E0277
    }
}
