//! The current IRP of a queue is started in two threads.

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks};

fn twice<C: QueueCallbacks>(current: &CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = (*current).start_next(irql); //~ E0507
}
