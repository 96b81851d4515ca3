//! The buffer is read through one owner while another one writes to it.

use wdm::{Error, PendedIrp};

fn both(mut irp: PendedIrp) -> Result<u8, Error> {
    let buffer = irp.user_buffer()?;
    let mut reply = irp.reply(); //~ E0505
    reply.append(b"bytes");
    buffer.read(0)
}
