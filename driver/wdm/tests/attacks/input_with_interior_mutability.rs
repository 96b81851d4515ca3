//! The input is changed through a shared reference.

use core::cell::Cell;
use wdm::PendedIrp;

fn change(irp: &PendedIrp) {
    let _ = irp.input_ref::<Cell<u32>>(); //~ E0277
}
