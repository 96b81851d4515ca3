//! A completion routine forwards its request again, which nests a call for each time that the lower driver completes it immediately.

use wdm::{CompletionRoutine, PendedIrp, Returned, irql::CallerLevel};

struct Again;
impl CompletionRoutine for Again {
    type Record = ();

    fn run(irp: Returned<PendedIrp>, irql: &mut CallerLevel) {
        if let Ok(irp) = irp.into_irp() {
            irp.forward_with_routine::<Self>(irql); //~ E0277
        }
    }
}
