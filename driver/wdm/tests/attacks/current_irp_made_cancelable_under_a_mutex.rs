//! The current IRP is made cancelable, and taken back, under a mutex that the completion of the IRP needs.

use wdm::{CancelableIrp, CurrentIrp, Mutex, PassiveLevel, QueueCallbacks};

fn make<C: QueueCallbacks>(irp: CurrentIrp<C>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, held| {
        let _ = irp.make_cancelable(held); //~ E0277
    });
}

fn take<C: QueueCallbacks>(irp: CancelableIrp<C>, mutex: &Mutex<u32>, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, held| {
        let _ = irp.take_back(held); //~ E0277
    });
}
