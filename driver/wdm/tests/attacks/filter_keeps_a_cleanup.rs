//! A filter queues a cleanup, which would not reach the lower driver if it is cancelled.

use wdm::{FileIrp, Handled, IrpQueue, PassiveLevel, QueueCallbacks};

fn keep<'irp>(
    irp: FileIrp<'irp>,
    queue: &IrpQueue<impl QueueCallbacks<Record = ()>>,
    irql: &mut PassiveLevel,
) -> Handled<'irp> {
    queue.insert(irp, irql) //~ E0308
}
