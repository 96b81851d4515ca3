//! A request is taken back twice, so that it has two owners.

use wdm::{CancelableIrp, PassiveLevel, QueueCallbacks};

fn twice<C: QueueCallbacks>(served: CancelableIrp<C>, irql: &mut PassiveLevel) {
    let _ = served.take_back(irql);
    let _ = served.take_back(irql); //~ E0382
}

fn main() {}
