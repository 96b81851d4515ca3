//! A request is completed after it was made cancelable.

use wdm::{CurrentIrp, NtStatus, PassiveLevel, QueueCallbacks};

fn both<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _served = current.make_cancelable(irql);
    let (irp, _) = current.start_next(irql); //~ E0382
    irp.complete(NtStatus::SUCCESS, irql);
}

fn main() {}
