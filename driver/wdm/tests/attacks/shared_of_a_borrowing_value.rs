//! A work item drops a value that borrows from a stack frame, after the frame has ended.

use wdm::{DeviceObject, Error, PassiveLevel, Shared};

fn make(device: &DeviceObject, irql: &mut PassiveLevel) {
    let local = 1;
    let _ = Shared::<&u32>::new(Ok::<_, Error>(&local), device, irql); //~ E0597
}
