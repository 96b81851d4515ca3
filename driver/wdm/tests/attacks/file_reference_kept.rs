//! The reference to a file's state is kept after the call.

#![forbid(unsafe_code)]

use core::cell::Cell;

struct Mine {
    kept: Cell<Option<&'static u32>>,
}
fn device_control(device: &Mine, file: &u32) {
    device.kept.set(Some(file)); //~ E0521
}

fn main() {}
