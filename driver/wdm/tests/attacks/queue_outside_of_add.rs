//! A queue is made with a device object, after `add`.

use wdm::{DeviceObject, IrpQueue, PassiveLevel, QueueCallbacks};

fn make<C: QueueCallbacks>(callbacks: C, mut device: DeviceObject, irql: &mut PassiveLevel) {
    let _ = IrpQueue::new(Ok::<_, core::convert::Infallible>(callbacks), &mut device, irql); //~ E0277
}
