//! StartIoRecursion: the current IRP is given up for the next one, once, and the queue does not call the driver back.

use wdm::{CurrentIrp, QueueCallbacks, irql::DispatchLevel};

fn finish<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut DispatchLevel) {
    let _ = current.start_next(irql);
    let _ = current.start_next(irql); //~ E0382
    //~| `current`
}
