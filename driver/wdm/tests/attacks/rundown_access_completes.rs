//! A request is completed during an access: the completion routine of an upper driver closes its handle in the same thread, and the
//! value is run down, which waits for the access.

use wdm::{NtStatus, PassiveLevel, PendedIrp, Rundown};

fn run(value: &Rundown<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    value.access(irql, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}
