//! A request that has returned is coerced to one with another record.

use wdm::{PendedIrp, Returned, Shared};

fn coerce(irp: Returned<PendedIrp<Shared<u32>>>) -> Returned<PendedIrp<Shared<u64>>> {
    irp //~ E0308
}
