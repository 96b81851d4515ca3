//! The queues *keyed* and *serial*: requests are served one at a time, each for its service time.

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Error, Handled, Irp, NewDevice, PassiveLevel, Shared, SpinLock, Start,
    StartIoOrder, StartIoQueue, Timer, TimerRoutine,
    irql::{DispatchLevel, NoSpinLockHeld},
};

use crate::ledger::{Ending, Entry, Ledger};

/// How many times in a row a timer is set in its own DPC with no service time. Such a timer's DPC runs immediately, so a long queue would keep the
/// processor at `DISPATCH_LEVEL`. After that the timer gets the shortest service time.
pub const MAX_CONSECUTIVE: u32 = 32;
pub const SHORTEST: Duration = Duration::from_millis(1);

/// The request that is being served, and how many have been served without a service time since the last one with a service time.
struct Current {
    irp: Option<CurrentIrp<Ending>>,
    consecutive: u32,
}

/// A queue and the request that is being served, by the DPC of a timer.
#[pin_data]
pub struct Serving {
    queue: Shared<StartIoQueue<Ending>>,
    #[pin]
    current: SpinLock<Current>,
    ledger: Shared<Ledger>,
}

impl Serving {
    /// Makes an empty queue.
    pub fn new(
        order: StartIoOrder,
        ledger: &Shared<Ledger>,
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Timer<Self>, Error> + use<>, Error> {
        let queue = StartIoQueue::new(order, Ending(ledger.clone()), device, irql)?;
        let ledger = ledger.clone();
        Ok(Timer::new(try_pin_init!(Self {
            queue,
            current <- SpinLock::new(Current { irp: None, consecutive: 0 }),
            ledger,
        }? Error)))
    }

    /// Queues a request, or starts it.
    pub fn submit<'irp>(
        timer: &Timer<Self>,
        irp: Irp<'irp, Entry>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let (start, pending) = timer.queue.insert(irp, irql);
        Self::start(timer, start, irql);
        pending
    }

    /// Starts the service of a request, if there is one; it ends when the timer expires.
    #[inline(never)]
    fn start<L: NoSpinLockHeld>(timer: &Timer<Self>, start: Start<Ending>, irql: &mut L) {
        let Start::Now(irp) = start else {
            return;
        };
        let mut time = Duration::from_millis(irp.record().pend.service_ms.into());
        timer.current.with(irql, |current, _| {
            current.irp = Some(irp);
            current.consecutive += 1;
            if current.consecutive > MAX_CONSECUTIVE {
                time = time.max(SHORTEST);
            }
            if !time.is_zero() {
                current.consecutive = 0;
            }
        });
        timer.set(time, irql);
    }
}

impl TimerRoutine for Serving {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.ledger.count_dpc(irql);
        let Some(current) = timer.current.lock_at_dpc(irql).irp.take() else {
            return;
        };
        let (irp, next) = current.start_next(irql);
        // In this order, since the next request may be completed on another processor before this routine returns.
        timer.ledger.complete(irp, irql);
        Self::start(timer, next, irql);
    }
}
