//! A work item drops a value that is not `Send`.

use std::rc::Rc;
use wdm::{DeviceObject, Error, PassiveLevel, Shared};

fn make(device: &DeviceObject, irql: &mut PassiveLevel) {
    let _ = Shared::<Rc<u32>>::new(Ok::<_, Error>(Rc::new(1)), device, irql); //~ E0277
}
