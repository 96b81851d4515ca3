//! A filter takes the owner out of a request that has come back by a pattern.

use wdm::{Irp, Returned};

fn take<'irp>(irp: Returned<Irp<'irp>>) -> Irp<'irp> {
    let Returned(irp) = irp; //~ E0532
    irp
}
