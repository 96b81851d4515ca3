//! An observer maps the buffer of a request that others may observe at the same time.

use wdm::{CompletionObserver, PendedIrp, Returned, irql::CallerLevel};

struct Mine;
impl CompletionObserver for Mine {
    type Record = ();

    fn run(irp: &Returned<PendedIrp>, _: &mut CallerLevel) {
        let _ = irp.user_buffer(); //~ E0596
    }
}
