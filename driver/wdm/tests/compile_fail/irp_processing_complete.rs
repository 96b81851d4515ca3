//! IrpProcessingComplete: a dispatch routine cannot return before it has completed, pended or queued its IRP.

use wdm::{Handled, Irp, PassiveLevel};

fn device_control<'irp>(irp: Irp<'irp>, _irql: &mut PassiveLevel) -> Handled<'irp> { //~ E0308
    //~| Handled
    drop(irp);
}
