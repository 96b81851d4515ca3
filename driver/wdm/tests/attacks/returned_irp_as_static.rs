//! A request that has come back keeps its mark no longer than its call: it is stored for another.

use wdm::{Irp, Returned};

fn keep(irp: Returned<Irp<'_>>) -> Returned<Irp<'static>> {
    irp //~ lifetime
}
