//! A completion routine waits, although the lower driver may have completed the request in a DPC.

use core::time::Duration;
use wdm::{CompletionRoutine, PendedIrp, Returned, irql::CallerLevel, thread};

struct Mine;
impl CompletionRoutine for Mine {
    type Record = ();

    fn run(irp: Returned<PendedIrp>, irql: &mut CallerLevel) {
        thread::delay(Duration::from_millis(1), irql); //~ E0277
        irp.complete(irql);
    }
}
