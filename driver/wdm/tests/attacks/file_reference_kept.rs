//! The reference to a file's state is kept after the call.

use core::cell::Cell;

struct Mine {
    kept: Cell<Option<&'static u32>>,
}
fn device_control(device: &Mine, file: &u32) {
    device.kept.set(Some(file)); //~ E0521
}
