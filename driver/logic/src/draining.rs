//! The queue *interlocked*: requests that the next DPC completes.

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    DeviceObject, Dpc, DpcRoutine, Error, Handled, InterlockedList, InterlockedLong, Irp,
    PassiveLevel, PendedIrp, Shared, Timer, TimerRoutine, irql::DispatchLevel,
};

use crate::{
    ledger::{Entry, Ledger},
    serving::{MAX_CONSECUTIVE, SHORTEST},
};

/// The largest number of requests that one DPC completes, since a DPC should run for no more than 100 microseconds.
/// It queues itself again if there may be more.
const PER_DPC: usize = 16;

/// The DPC that completes the requests on a list, and the timer that does so after a number of DPCs in a row, so that the threads of
/// the processor can run in between.
#[pin_data]
pub struct Draining {
    requests: Shared<Requests>,
    #[pin]
    later: Timer<Later>,
}

struct Later(Shared<Requests>);

/// A list of requests.
///
/// A request stays on the list only until the DPC runs, so it does not have to be cancelable. It cannot be,
/// since only the head of an interlocked list can be removed.
#[pin_data]
struct Requests {
    #[pin]
    list: InterlockedList<PendedIrp<Entry>>,
    ledger: Shared<Ledger>,
    /// How many DPCs in a row have left requests on the list.
    consecutive: InterlockedLong,
}

impl Draining {
    /// Makes an empty queue.
    pub fn new(
        ledger: &Shared<Ledger>,
        device: &DeviceObject,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Dpc<Self>, Error> + use<>, Error> {
        let ledger = ledger.clone();
        let requests = try_pin_init!(Requests {
            list <- InterlockedList::new(),
            ledger,
            consecutive: InterlockedLong::new(0),
        }? Error);
        let requests = Shared::<Requests>::new(requests, device, irql)?;
        let later = Later(requests.clone());
        Ok(Dpc::new(try_pin_init!(Self {
            requests,
            later <- Timer::new(Ok::<_, Error>(later)),
        }? Error)))
    }

    /// Queues a request: at the tail if its key is 0, else at the head.
    pub fn submit<'irp>(
        dpc: &Dpc<Self>,
        irp: Irp<'irp, Entry>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let (irp, pending) = irp.pend_not_cancelable(irql);
        if irp.record().pend.key == 0 {
            dpc.requests.list.insert_tail(irp);
        } else {
            dpc.requests.list.insert_head(irp);
        }
        // The kernel dequeues a DPC before it runs. So a DPC that is still queued will find this request.
        dpc.queue();
        pending
    }
}

impl Requests {
    /// Completes some requests; if there may be more, returns the interval after which to continue.
    fn complete_some(&self, irql: &mut DispatchLevel) -> Option<Duration> {
        self.ledger.count_dpc(irql);
        for _ in 0..PER_DPC {
            let Some(irp) = self.list.remove_head() else {
                self.consecutive.exchange(0);
                return None;
            };
            self.ledger.complete(irp, irql);
        }
        if self.consecutive.increment().cast_unsigned() < MAX_CONSECUTIVE {
            return Some(Duration::ZERO);
        }
        self.consecutive.exchange(0);
        Some(SHORTEST)
    }
}

impl DpcRoutine for Draining {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        match dpc.requests.complete_some(irql) {
            Some(Duration::ZERO) => {
                dpc.queue();
            }
            Some(time) => {
                dpc.later.set(time, irql);
            }
            None => {}
        }
    }
}

impl TimerRoutine for Later {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        if let Some(time) = timer.0.complete_some(irql) {
            timer.set(time, irql);
        }
    }
}
