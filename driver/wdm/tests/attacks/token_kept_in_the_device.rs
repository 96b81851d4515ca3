//! A device keeps the token that `add` was called with.

use core::cell::RefCell;
use wdm::PassiveLevel;

struct Mine {
    irql: RefCell<Option<&'static mut PassiveLevel>>,
}
fn keep(device: &Mine, irql: &mut PassiveLevel) {
    *device.irql.borrow_mut() = Some(irql); //~ E0521
}
