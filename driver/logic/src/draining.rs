//! The queue *interlocked*: requests that the next DPC completes.

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Dpc, DpcRoutine, Error, Handled, InterlockedList, Irp, PassiveLevel, PendedIrp, Shared,
    irql::DispatchLevel,
};

use crate::ledger::{Entry, Ledger};

/// The largest number of requests that one DPC completes, since a DPC should run for no more than 100 microseconds.
/// It queues itself again if there may be more.
const PER_DPC: usize = 16;

/// A list and the DPC that drains it.
///
/// A request stays on the list only until the DPC runs, so it does not have to be cancelable. It could not be,
/// since only the head of an interlocked list can be removed.
#[pin_data]
pub struct Draining {
    #[pin]
    list: InterlockedList<PendedIrp<Entry>>,
    ledger: Shared<Ledger>,
}

impl Draining {
    /// Makes an empty queue.
    pub fn new(ledger: &Shared<Ledger>) -> impl PinInit<Dpc<Self>, Error> {
        let ledger = ledger.clone();
        Dpc::new(try_pin_init!(Self {
            list <- InterlockedList::new(),
            ledger,
        }? Error))
    }

    /// Queues a request: at the tail if its key is 0, else at the head.
    pub fn submit<'irp>(
        dpc: &Dpc<Self>,
        irp: Irp<'irp, Entry>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let (irp, pending) = irp.pend_not_cancelable(irql);
        if irp.record().pend.key == 0 {
            dpc.list.insert_tail(irp);
        } else {
            dpc.list.insert_head(irp);
        }
        // The kernel dequeues a DPC before it runs. So a DPC that is still queued will find this request.
        dpc.queue();
        pending
    }
}

impl DpcRoutine for Draining {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.ledger.count_dpc(irql);
        for _ in 0..PER_DPC {
            let Some(irp) = dpc.list.remove_head() else {
                return;
            };
            dpc.ledger.complete(irp, irql);
        }
        dpc.queue();
    }
}
