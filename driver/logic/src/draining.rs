//! The queue *interlocked*: requests that the next DPC completes.

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Dpc, DpcRoutine, Error, Handled, InterlockedList, Irp, PassiveLevel, PendedIrp, Shared,
    irql::DispatchLevel,
};

use crate::ledger::{Entry, Ledger};

/// How many requests one DPC completes at the most, since a DPC is to run for 100 microseconds at the most. It queues
/// itself again if there may be more.
const PER_DPC: usize = 16;

/// A list, and who drains it: a DPC.
///
/// No request is on it for longer than a DPC takes to come; so none needs to be cancelable, and none could be,
/// since only the head of such a list can be removed.
#[pin_data]
pub struct Draining {
    #[pin]
    list: InterlockedList<PendedIrp<Entry>>,
    ledger: Shared<Ledger>,
}

impl Draining {
    /// An empty queue.
    pub fn new(ledger: &Shared<Ledger>) -> impl PinInit<Dpc<Self>, Error> {
        let ledger = ledger.clone();
        Dpc::new(try_pin_init!(Self {
            list <- InterlockedList::new(),
            ledger,
        }? Error))
    }

    /// Queues a request: key 0 at the tail, any other at the head.
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
        // A DPC is taken off its queue before it runs. So one that is queued already has not looked yet.
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
