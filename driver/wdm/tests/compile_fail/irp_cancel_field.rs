//! IrpCancelField: the driver does not access Irp->Cancel; the queues do, when they set the Cancel routine.

use wdm::Irp;

fn is_cancelled(irp: &Irp<'_>) -> bool {
    irp.cancel //~ E0609
    //~| cancel
}
