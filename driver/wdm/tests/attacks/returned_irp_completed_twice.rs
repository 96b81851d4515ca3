//! A completion routine completes its request twice.

use wdm::{CompletionRoutine, NtStatus, PendedIrp, Returned, irql::CallerLevel};

struct Mine;
impl CompletionRoutine for Mine {
    type Record = ();

    fn run(irp: Returned<PendedIrp>, irql: &mut CallerLevel) {
        irp.complete(irql);
        let _ = irp.into_irp().map(|irp| irp.complete(NtStatus::SUCCESS, irql)); //~ E0382
    }
}
