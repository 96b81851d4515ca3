//! An observer takes the request whose completion the I/O manager continues.

use wdm::{CompletionObserver, PendedIrp, Returned, irql::CallerLevel};

struct Mine;
impl CompletionObserver for Mine {
    type Record = ();

    fn run(irp: &Returned<PendedIrp>, irql: &mut CallerLevel) {
        irp.complete(irql); //~ E0507
        let _ = irp.clone().into_irp(); //~ E0507
    }
}
