//! The lifetime of an IRP is shortened to that of an inner stack frame.

use wdm::{Irp};

fn coerce<'a>(it: Irp<'static>) -> Irp<'a> {
    it //~ lifetime
}
