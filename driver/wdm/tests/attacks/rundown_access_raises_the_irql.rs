//! The IRQL is raised while a `Rundown` value is accessed, to get a token that does not state the access.

use wdm::{Error, PassiveLevel, PendedIrp, Rundown, irql::raise_to_dispatch};

fn complete(value: &Rundown<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    value.access(irql, |_, irql| {
        raise_to_dispatch(irql, |irql| irp.complete(Error::CANCELLED, irql)); //~ E0277
    });
}
