//! The input of a request is read through its reply while it is overwritten.

use wdm::{PendedIrp, Reply};

fn read(reply: &mut Reply<PendedIrp>) -> usize {
    reply.input_bytes().map_or(0, <[u8]>::len) //~ E0599
}
