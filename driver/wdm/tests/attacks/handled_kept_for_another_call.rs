//! The `Handled` of one call is kept in the device for another call.

use core::cell::RefCell;
use wdm::{Handled, Irp, NtStatus, PassiveLevel};

struct Mine {
    kept: RefCell<Option<Handled<'static>>>,
}
fn device_control<'irp>(device: &Mine, irp: Irp<'irp>, irql: &mut PassiveLevel) {
    *device.kept.borrow_mut() = Some(irp.complete(NtStatus::SUCCESS, irql)); //~ E0521
}
