//! The input in the system buffer is returned as `'static`.

use wdm::PendedIrp;

fn keep(irp: &PendedIrp) -> Option<&'static u32> {
    irp.input_ref::<u32>().ok() //~ lifetime
}
