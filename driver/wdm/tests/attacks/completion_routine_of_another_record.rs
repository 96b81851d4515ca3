//! A completion routine would take the record of a request for one of another type.

use wdm::{CompletionRoutine, Handled, Irp, PendedIrp, Returned, Shared, irql::CallerLevel};

struct Mine;
impl CompletionRoutine for Mine {
    type Record = Shared<u64>;

    fn run(irp: Returned<PendedIrp<Shared<u64>>>, irql: &mut CallerLevel) {
        irp.complete(irql);
    }
}

fn request<'irp>(irp: Irp<'irp, Shared<u8>>, irql: &mut CallerLevel) -> Handled<'irp> {
    irp.forward_with_routine::<Mine>(irql) //~ E0271
}
