//! Two threads that share a request map its buffer at the same time.

use wdm::PendedIrp;

fn map(irp: &PendedIrp) -> bool {
    irp.user_buffer().is_ok() //~ E0596
}
