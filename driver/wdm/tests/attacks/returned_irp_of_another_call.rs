//! A dispatch routine returns the `Handled` of another call's request, which the lower drivers have completed.

use wdm::{Handled, Irp, PassiveLevel};

fn other<'a>(_: &Irp<'a>, other: Irp<'static>, irql: &mut PassiveLevel) -> Handled<'a> {
    other.forward_and_wait(irql).complete(irql) //~ lifetime
}
