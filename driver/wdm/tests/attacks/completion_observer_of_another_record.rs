//! An observer would take the record of a request for one of another type.

use wdm::{CompletionObserver, Handled, Irp, PendedIrp, Returned, Shared, irql::CallerLevel};

struct Mine;
impl CompletionObserver for Mine {
    type Record = Shared<u64>;

    fn run(_: &Returned<PendedIrp<Shared<u64>>>, _: &mut CallerLevel) {}
}

fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    irp.forward_with_observer::<Mine>(irql) //~ E0271
}
