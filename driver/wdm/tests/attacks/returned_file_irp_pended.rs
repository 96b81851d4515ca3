//! A filter pends an open that the lower driver has completed, and then completes it with an error, so that its file is never closed.

use wdm::{Error, FileIrp, PassiveLevel};

fn open(irp: FileIrp<'_>, irql: &mut PassiveLevel) {
    let returned = irp.forward_and_wait(irql);
    let (irp, _) = returned.pend_not_cancelable(irql); //~ E0599
    irp.complete(Error::DEVICE_BUSY, irql);
}
