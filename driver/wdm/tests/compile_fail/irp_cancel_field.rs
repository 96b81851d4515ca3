//! IrpCancelField: the driver does not look at Irp->Cancel; the queues do, when the Cancel routine is set.

use wdm::Irp;

fn is_cancelled(irp: &Irp<'_>) -> bool {
    irp.cancel //~ E0609
    //~| cancel
}

fn main() {}
