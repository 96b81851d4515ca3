//! The input is kept while a reply overwrites it.

use wdm::{Error, Irp};

fn keep(irp: Irp<'_>) -> Result<u8, Error> {
    let input = irp.input_bytes()?;
    let mut reply = irp.reply(); //~ E0505
    reply.append(&[1]);
    Ok(input[0])
}
