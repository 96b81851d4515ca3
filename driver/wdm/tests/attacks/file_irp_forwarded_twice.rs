//! A filter forwards a close twice, so that the lower driver frees the file twice.

use wdm::{FileIrp, Handled, PassiveLevel};

fn close<'irp>(irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let _ = irp.forward(irql);
    irp.forward(irql) //~ E0382
}
