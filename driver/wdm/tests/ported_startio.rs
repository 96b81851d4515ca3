//! The WDK's sample `general/cancel/startio`, ported: a polled device that serves one read at a time.
//!
//! The sample cannot cancel the read that is being served; here it is cancelable too.

mod common;

use std::{sync::Arc, time::Duration};

use common::{kernel, start};
use ntmodel::{Access, Device as Dev, Kernel, Request, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CancelSpinLock, CancelableIrp, Device, Error, Guid, Handled, Irp, IrpView, NewDevice,
    PassiveLevel, QueueCallbacks, Shared, SpinLock, Start, StartIoOrder, StartIoQueue, Timer,
    TimerRoutine,
    irql::{DispatchLevel, NoSpinLockHeld, SpinLockHeld},
};

const INTERVAL: Duration = Duration::from_millis(500);

/// The callbacks of the queue.
struct Reads(Shared<Timer<Polling>>);

impl QueueCallbacks for Reads {
    type Record = ();

    /// Starts the next read immediately.
    fn current_cancelled(&self, _: &IrpView, held: &mut SpinLockHeld<CancelSpinLock>) {
        self.0.set(Duration::ZERO, held);
    }
}

/// The read that is served, and how many polls it needs.
struct Served {
    irp: CancelableIrp<Reads>,
    polls: u32,
}

#[pin_data]
struct Polling {
    #[pin]
    served: SpinLock<Option<Served>>,
}

/// Starts the service of a read: the timer polls the device for it.
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

/// The number of polls that a read needs.
const POLLS: u32 = 2;

impl TimerRoutine for Polling {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        let Some(Served { irp, polls }) = timer.served.with(irql, |place, _| place.take()) else {
            return;
        };
        let (next, polls) = match irp.take_back(irql) {
            Ok(current) if polls > 1 => (Start::Now(current), polls - 1),
            Ok(current) => {
                let (irp, next) = current.start_next(irql);
                irp.complete_with(&42_u32, irql);
                (next, POLLS)
            }
            Err(next) => (next, POLLS),
        };
        serve(timer, next, polls, irql);
    }
}

struct Sampler {
    timer: Shared<Timer<Polling>>,
    queue: Shared<StartIoQueue<Reads>>,
}

impl Device for Sampler {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

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

fn end(read: &Request) -> (i32, Vec<u8>) {
    let end = common::end(read);
    (end.status, end.output)
}

fn success() -> (i32, Vec<u8>) {
    (nt::STATUS_SUCCESS, vec![42, 0, 0, 0])
}

#[test]
fn reads_are_served_and_cancelled() {
    let kernel = kernel();
    let stack = start::<Sampler>(&kernel);
    let device = &stack.device;
    let file = device.open(Access::Read).expect("it opens");
    assert_eq!(file.read(0, 3).status(), Some(nt::STATUS_BUFFER_TOO_SMALL));
    let reads = [(); 4].map(|()| file.read(0, 4));
    // The read that is served and one that waits.
    assert!(reads[0].cancel());
    assert!(reads[2].cancel());
    assert_eq!(reads[0].status(), Some(nt::STATUS_CANCELLED));
    assert_eq!(reads[2].status(), Some(nt::STATUS_CANCELLED));
    assert_eq!(end(&reads[1]), success());
    assert_eq!(end(&reads[3]), success());
    let (served, waiting) = (file.read(0, 4), file.read(0, 4));
    file.close();
    assert_eq!(served.status(), Some(nt::STATUS_CANCELLED));
    assert_eq!(waiting.status(), Some(nt::STATUS_CANCELLED));
    stack.unload();
}

/// Starts the device, with two reads, and runs `other` in another thread while they are served.
fn race(
    kernel: &Arc<Kernel>,
    other: impl FnOnce(&Dev, &Request) + Send + 'static,
) -> [(i32, Vec<u8>); 2] {
    let stack = start::<Sampler>(kernel);
    let device = &stack.device;
    let file = device.open(Access::Read).expect("it opens");
    let first = Arc::new(file.read(0, 4));
    let theirs = (device.clone(), Arc::clone(&first));
    let actor = kernel.actor("other", move || other(&theirs.0, &theirs.1));
    let second = file.read(0, 4);
    let ends = [end(&first), end(&second)];
    actor.join();
    drop(first);
    drop(second);
    file.close();
    stack.unload();
    ends
}

#[test]
fn cancel_against_the_timer() {
    explore::check(1_000, |kernel| {
        let [first, second] = race(kernel, |_, first| {
            first.cancel();
        });
        assert!(first == success() || first.0 == nt::STATUS_CANCELLED);
        assert_eq!(second, success());
    });
}

#[test]
fn removal_against_the_timer() {
    explore::check(1_000, |kernel| {
        let ends = race(kernel, |device, _| device.surprise_remove());
        // `serve` completes a read that it can no longer make cancelable.
        let failed = [nt::STATUS_DELETE_PENDING, nt::STATUS_CANCELLED];
        for end in ends {
            assert!(end == success() || failed.contains(&end.0));
        }
    });
}
