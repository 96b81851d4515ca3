//! PendedCompletedRequest: a dispatch routine does not complete an IRP that it queued, which the queue owns.

use wdm::{Handled, Irp, IrpQueue, NtStatus, PassiveLevel, QueueCallbacks};

fn device_control<'irp, C: QueueCallbacks<Record = ()>>(
    queue: &IrpQueue<C>,
    irp: Irp<'irp>,
    irql: &mut PassiveLevel,
) -> Handled<'irp> {
    let _ = queue.insert(irp, irql);
    irp.complete(NtStatus::SUCCESS, irql) //~ E0382
    //~| `irp`
}
