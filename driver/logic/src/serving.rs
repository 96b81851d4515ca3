//! The queues *keyed* and *serial*: requests that are served one at a time, each for its own time.

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Handled, Irp, NtStatus, PassiveLevel, Shared, SpinLock, Start, StartIoQueue, Timer,
    TimerRoutine,
    irql::{DispatchLevel, NoSpinLockHeld},
};

use crate::ledger::{Ending, Entry, Ledger};

/// A queue, the request that is served, and who serves it: the DPC of a timer.
#[pin_data]
pub struct Serving {
    #[pin]
    pub queue: StartIoQueue<Ending>,
    #[pin]
    current: SpinLock<Option<CurrentIrp<Entry>>>,
    order: Order,
    ledger: Shared<Ledger>,
}

/// Which request is served next.
#[derive(Clone, Copy)]
pub enum Order {
    /// The first whose key is not smaller than that of the last, or else the first of all.
    Key,
    /// The one that came first.
    Coming,
}

impl Serving {
    /// An empty queue.
    pub fn new(order: Order, ledger: &Shared<Ledger>) -> impl PinInit<Timer<Self>, NtStatus> {
        let ledger = ledger.clone();
        Timer::new(try_pin_init!(Self {
            queue <- StartIoQueue::new(Ending(ledger.clone())),
            current <- SpinLock::new(None),
            order,
            ledger,
        }? NtStatus))
    }

    /// Queues a request, or starts it.
    pub fn submit<'irp>(
        timer: &Timer<Self>,
        irp: Irp<'irp, Entry>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let key = timer.order.key(&irp.record().pend);
        let (start, pending) = timer.queue.insert(irp, key, irql);
        Self::start(timer, start, irql);
        pending
    }

    /// Starts what is to be started: it is served until the timer expires.
    fn start<L: NoSpinLockHeld>(timer: &Timer<Self>, start: Start<Entry>, irql: &mut L) {
        let Start::Now(irp) = start else {
            return;
        };
        let time = Duration::from_millis(irp.record().pend.service_ms.into());
        timer.current.with(irql, |current, _| *current = Some(irp));
        timer.set(time, irql);
    }
}

impl Order {
    fn key(self, pend: &interlock_abi::Pend) -> Option<u32> {
        match self {
            Self::Key => Some(pend.key),
            Self::Coming => None,
        }
    }
}

impl TimerRoutine for Serving {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.ledger.count_dpc(irql);
        let Some(current) = timer.current.lock_at_dpc(irql).take() else {
            return;
        };
        let key = timer.order.key(&current.record().pend);
        let (irp, next) = timer.queue.start_next(current, key, irql);
        // In this order: the next one may be done on another processor before this routine returns.
        timer.ledger.complete(irp, irql);
        Self::start(timer, next, irql);
    }
}
