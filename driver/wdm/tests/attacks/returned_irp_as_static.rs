//! A request that has returned is stored, although its lifetime is that of the call.

use wdm::{Irp, Returned};

fn keep(irp: Returned<Irp<'_>>) -> Returned<Irp<'static>> {
    irp //~ lifetime
}
