//! A driver says of a request of its own that the lower drivers have completed it, with what is in its status block.

use wdm::{PendedIrp, Returned};

fn forge(irp: PendedIrp) -> Returned<PendedIrp> {
    Returned(irp) //~ E0423
}
