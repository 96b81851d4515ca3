//! The input is read after the IRP was queued.

use wdm::{IrpQueue, PassiveLevel, PendedIrp, QueueCallbacks};

fn keep<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) -> u32 {
    let input = irp.input_ref::<u32>().unwrap_or(&0);
    queue.insert_pended(irp, irql); //~ E0505
    *input
}
