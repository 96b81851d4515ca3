//! A filter removes the owner from a returned request by a pattern.

use wdm::{Irp, Returned};

fn take<'irp>(irp: Returned<Irp<'irp>>) -> Irp<'irp> {
    let Returned(irp) = irp; //~ E0532
    irp
}
