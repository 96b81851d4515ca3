//! The next IRP is started twice with one current IRP.

use wdm::{CurrentIrp, PassiveLevel, QueueCallbacks};

fn next<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = current.start_next(irql);
    let _ = current.start_next(irql); //~ E0382
}
