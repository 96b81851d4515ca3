//! Two threads add queues to one new device.

use wdm::{Error, NewDevice, PassiveLevel, thread};

fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<(), Error> {
    thread::run(2, irql, &|_, _| take(device)) //~ E0277
}
fn take(_: &mut NewDevice) {}
