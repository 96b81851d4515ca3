//! Polled hardware that serves one read at a time.
//!
//! It corresponds to the sample `general/cancel/startio` of the WDK. A timer polls the hardware, which has a sample for a read at the
//! second poll. The other reads wait on a [`StartIoQueue`]. The WDK's sample cannot cancel the read that is being served; here it is
//! cancelable too, and the next one is started immediately.

#![no_std]
#![forbid(unsafe_code)]

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CancelSpinLock, CancelableIrp, Device, Error, Guid, Handled, Irp, IrpView, NewDevice,
    PassiveLevel, QueueCallbacks, Shared, SpinLock, Start, StartIoOrder, StartIoQueue, Timer,
    TimerRoutine,
    irql::{DispatchLevel, NoSpinLockHeld, SpinLockHeld},
};

/// The time between two polls.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// The number of polls that a read needs.
const POLLS: u32 = 2;

/// The sample that the hardware returns.
pub const SAMPLE: u32 = 42;

/// The callbacks of the queue.
struct Reads(Shared<Timer<Polling>>);

impl QueueCallbacks for Reads {
    type Record = ();

    /// Starts the next read immediately.
    fn current_cancelled(&self, _: &IrpView, held: &mut SpinLockHeld<CancelSpinLock>) {
        self.0.set(Duration::ZERO, held);
    }
}

/// The read that is served, and how many polls it still needs.
struct Served {
    irp: CancelableIrp<Reads>,
    polls: u32,
}

/// The context of the timer.
#[pin_data]
struct Polling {
    #[pin]
    served: SpinLock<Option<Served>>,
}

/// Makes a read the one that is served: the timer polls the hardware for it. A read that cannot be made cancelable any more, since it
/// was cancelled, is completed, and the next one is served.
fn serve(
    timer: &Timer<Polling>,
    mut start: Start<Reads>,
    mut polls: u32,
    irql: &mut impl NoSpinLockHeld,
) {
    while let Start::Now(current) = start {
        start = match current.make_cancelable(irql) {
            Ok(irp) => {
                let served = Served { irp, polls };
                timer.served.with(irql, |place, _| *place = Some(served));
                timer.set(INTERVAL, irql);
                return;
            }
            Err((current, error)) => {
                let (irp, next) = current.start_next(irql);
                irp.complete(error, irql);
                polls = POLLS;
                next
            }
        }
    }
}

impl TimerRoutine for Polling {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        let Some(Served { irp, polls }) = timer.served.with(irql, |place, _| place.take()) else {
            return;
        };
        let (next, polls) = match irp.take_back(irql) {
            Ok(current) if polls > 1 => (Start::Now(current), polls - 1),
            Ok(current) => {
                let (irp, next) = current.start_next(irql);
                irp.complete_with(&SAMPLE, irql);
                (next, POLLS)
            }
            // It was cancelled.
            Err(next) => (next, POLLS),
        };
        serve(timer, next, polls, irql);
    }
}

/// The device.
pub struct Sampler {
    timer: Shared<Timer<Polling>>,
    queue: Shared<StartIoQueue<Reads>>,
}

impl Device for Sampler {
    const INTERFACE: Guid = Guid::new(
        0xbea2_db8b,
        0x5fa0,
        0x4f0b,
        [0x9a, 0x9c, 0x32, 0x42, 0x5f, 0xa3, 0xfb, 0x7f],
    );

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let polling = try_pin_init!(Polling { served <- SpinLock::new(None) }? Error);
        let timer = Shared::new(Timer::new(polling), device, irql)?;
        let callbacks = Reads(timer.clone());
        let queue = StartIoQueue::new(StartIoOrder::Arrival, callbacks, device, irql)?;
        Ok(Ok::<_, Error>(Self { timer, queue }))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        if let Err(error) = irp.output::<u32>() {
            return irp.complete(error, irql);
        }
        let (start, pending) = self.queue.insert(irp, irql);
        serve(&self.timer, start, POLLS, irql);
        pending
    }
}
