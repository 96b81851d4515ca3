//! Callbacks that are subtypes of each other may have different records: a queue of one, or an IRP or a `Start` from it, is
//! coerced to that of the other, also through `Shared`, which is covariant.

use wdm::{CancelableIrp, CurrentIrp, IrpQueue, QueueCallbacks, Shared, Start, StartIoQueue};

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
}

type One = Cb<for<'x> fn(&'x u8)>;
type Other = Cb<fn(&'static u8)>;

fn queue<'a>(it: &'a IrpQueue<One>) -> &'a IrpQueue<Other> {
    it //~ E0308
}

fn shared_queue(it: Shared<IrpQueue<One>>) -> Shared<IrpQueue<Other>> {
    it //~ E0308
}

fn start_io_queue<'a>(it: &'a StartIoQueue<One>) -> &'a StartIoQueue<Other> {
    it //~ E0308
}

fn current_irp(it: CurrentIrp<One>) -> CurrentIrp<Other> {
    it //~ E0308
}

fn cancelable_irp(it: CancelableIrp<One>) -> CancelableIrp<Other> {
    it //~ E0308
}

fn start(it: Start<One>) -> Start<Other> {
    it //~ E0308
}
