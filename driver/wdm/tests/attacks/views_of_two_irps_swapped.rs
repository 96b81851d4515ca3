//! The views of two owners are swapped, so that each owner has the other's IRP.

use wdm::{CurrentIrp, PendedIrp, QueueCallbacks};

fn swap<C: QueueCallbacks>(current: &mut CurrentIrp<C>, irp: &mut PendedIrp<C::Record>) {
    core::mem::swap(
        &mut **current, //~ E0596
        &mut **irp, //~ E0596
    );
}
