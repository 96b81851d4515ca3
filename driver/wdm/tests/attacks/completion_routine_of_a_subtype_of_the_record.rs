//! A completion routine takes a record for one of a subtype, whose routine can be called with a reference that lives shorter.

use wdm::{CompletionRoutine, PassiveLevel, PendedIrp, Returned, Shared, irql::CallerLevel};

struct Mine;
impl CompletionRoutine for Mine {
    type Record = Shared<fn(&'static u8)>;

    fn run(irp: Returned<PendedIrp<Self::Record>>, irql: &mut CallerLevel) {
        irp.complete(irql);
    }
}

fn forward(irp: PendedIrp<Shared<for<'x> fn(&'x u8)>>, irql: &mut PassiveLevel) {
    irp.forward_with_routine::<Mine>(irql); //~ E0308
}
