//! The cancelable IRP of one type of queue is used as that of another type of queue.

use wdm::{CancelableIrp, IrpView, NtStatus, QueueCallbacks, Shared, irql::ObjectHeld};

struct Cb<F>(F);

trait Kind {
    type Record: wdm::Record;
}
impl Kind for for<'a> fn(&'a u8) {
    type Record = Shared<&'static str>;
}
impl Kind for fn(&'static u8) {
    type Record = Shared<[usize; 2]>;
}

impl<F: Kind + Send + Sync + 'static> QueueCallbacks for Cb<F> {
    type Record = F::Record;

    fn before_completion(&self, _: &IrpView<F::Record>, _: NtStatus, _: &mut ObjectHeld) {}
}

fn coerce(it: CancelableIrp<Cb<for<'x> fn(&'x u8)>>) -> CancelableIrp<Cb<fn(&'static u8)>> {
    it //~ E0308
}

fn main() {}
