//! The proof of a request that came back is returned for another call of the dispatch routine.

use wdm::{Handled, Irp, PassiveLevel};

fn other<'a>(_: &Irp<'a>, other: Irp<'static>, irql: &mut PassiveLevel) -> Handled<'a> {
    other.forward_and_wait(irql).complete(irql) //~ lifetime
}
