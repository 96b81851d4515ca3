//! A driver says that it has written more bytes than it has.

use wdm::{PendedIrp, Reply};

fn lie(reply: &mut Reply<PendedIrp>) {
    reply.length = 1 << 20; //~ E0616
}
