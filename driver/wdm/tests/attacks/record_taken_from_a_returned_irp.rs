//! The record of a request that has returned is taken out or kept, and the request is then completed with it.

use wdm::{PendedIrp, Returned, Shared};

fn take(irp: Returned<PendedIrp<Shared<u32>>>) -> Shared<u32> {
    irp.take_record().0 //~ E0599
}

fn keep(irp: &Returned<PendedIrp<Shared<u32>>>) -> &'static u32 {
    irp.record() //~ lifetime
}
