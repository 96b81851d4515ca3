//! The mark of the IRP in a reply is made another one.

use wdm::{Irp, Reply};

fn coerce<'a>(it: Reply<Irp<'static>>) -> Reply<Irp<'a>> {
    it //~ lifetime
}
