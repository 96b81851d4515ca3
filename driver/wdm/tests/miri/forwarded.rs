//! A driver that forwards requests in each way, sends requests of its own, and serves one that can be cancelled.

use nt::{STATUS_CANCELLED, STATUS_INTERNAL_ERROR, STATUS_SUCCESS};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CancelableIrp, CompletionObserver, CompletionRoutine, Device, Error, Handled, InterlockedLong,
    Irp, IrpView, Lower, LowerIrp, LowerIrpHandle, LowerIrpRoutine, NewDevice, NtStatus,
    PassiveLevel, PendedIrp, QueueCallbacks, Returned, Shared, SpinLock, Start, StartIoOrder,
    StartIoQueue,
    irql::{CallerLevel, NoSpinLockHeld, SpinLockHeld},
    serial,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::Loaded},
};

/// The request is forwarded in one of several ways, depending on its function code.
const FORWARD: [u32; 5] = [0x22_2000, 0x22_2004, 0x22_2008, 0x22_200c, 0x22_2010];
/// Sends the driver's own request.
const SEND: u32 = 0x22_2014;
/// Cancels the driver's own request.
const CANCEL: u32 = 0x22_2018;
/// The request is served until it is cancelled.
const SERVE: u32 = 0x22_201c;
/// Ends the request that is served.
const DONE: u32 = 0x22_2020;
/// Drops the request that is served.
const DROP: u32 = 0x22_2024;
/// Reads from the lower device, and waits.
const READ: u32 = 0x22_2028;

type Count = Shared<InterlockedLong>;

struct ReturnRoutine;

impl CompletionRoutine for ReturnRoutine {
    type Record = Count;

    fn run(irp: Returned<PendedIrp<Count>>, irql: &mut CallerLevel) {
        irp.record().increment();
        assert_eq!(irp.result(), Ok(()));
        match irp.into_irp() {
            Ok(irp) => irp.complete(NtStatus::SUCCESS, irql),
            Err(irp) => irp.complete(irql),
        }
    }
}

impl CompletionObserver for ReturnRoutine {
    type Record = Count;

    fn run(irp: &Returned<PendedIrp<Count>>, _: &mut CallerLevel) {
        irp.record().increment();
    }
}

/// A slot for the driver's own request while it is not sent.
#[pin_data]
struct Place {
    #[pin]
    irp: SpinLock<Option<LowerIrp<Own>>>,
}

struct Own {
    place: Shared<Place>,
    runs: InterlockedLong,
}

impl LowerIrpRoutine for Own {
    fn run(mut irp: LowerIrp<Self>, irql: &mut CallerLevel) {
        irp.buffer()[0] = irp.buffer()[0].wrapping_add(1);
        assert!(irp.output().len() <= irp.information());
        let again = irp.runs.increment() % 3 != 0;
        let irp = if again {
            irp.read(0, 4, irql)
        } else {
            Err((irp, Error::RETRY))
        };
        if let Err((irp, _)) = irp {
            let place = irp.place.clone();
            place.irp.with(irql, |place, _| *place = Some(irp));
        }
    }
}

struct Stops(Count);

impl QueueCallbacks for Stops {
    type Record = Count;

    fn current_cancelled(&self, irp: &IrpView<Count>, _: &mut SpinLockHeld<wdm::CancelSpinLock>) {
        irp.record().increment();
        self.0.increment();
    }
}

#[pin_data]
struct TestDevice {
    lower: Lower,
    count: Count,
    place: Shared<Place>,
    handle: LowerIrpHandle<Own>,
    queue: Shared<StartIoQueue<Stops>>,
    #[pin]
    served: SpinLock<Option<CancelableIrp<Stops>>>,
}

impl TestDevice {
    fn start(&self, mut start: Start<Stops>, irql: &mut impl NoSpinLockHeld) {
        while let Start::Now(current) = start {
            start = match current.make_cancelable(irql) {
                Ok(served) => {
                    let before = self.served.with(irql, |place, _| place.replace(served));
                    assert!(before.is_none(), "one is served at a time");
                    return;
                }
                Err((current, error)) => {
                    let (irp, next) = current.start_next(irql);
                    irp.complete(error, irql);
                    next
                }
            };
        }
    }

    fn done(&self, irql: &mut impl NoSpinLockHeld) {
        let Some(served) = self.served.with(irql, |place, _| place.take()) else {
            return;
        };
        let next = match served.take_back(irql) {
            Ok(current) => {
                let (irp, next) = current.start_next(irql);
                irp.complete(NtStatus::SUCCESS, irql);
                next
            }
            Err(next) => next,
        };
        self.start(next, irql);
    }
}

impl Device for TestDevice {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let count: Count = Shared::new(InterlockedLong::new(0), device, irql)?;
        let place = try_pin_init!(Place { irp <- SpinLock::new(None) }? Error);
        let place = Shared::<Place>::new(place, device, irql)?;
        let own = Own {
            place: place.clone(),
            runs: InterlockedLong::new(0),
        };
        let irp = LowerIrp::new(Ok::<_, Error>(own), 8, device, irql)?;
        let handle = irp.handle();
        place.irp.with(irql, |place, _| *place = Some(irp));
        let queue = StartIoQueue::new(StartIoOrder::Arrival, Stops(count.clone()), device, irql)?;
        Ok(
            try_pin_init!(Self { lower: Lower::new(device), count, place, handle, queue, served <- SpinLock::new(None) }? Error),
        )
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let code = irp.code();
        match code {
            SEND => {
                if let Some(own) = self.place.irp.with(irql, |place, _| place.take()) {
                    let sent = if own.runs.read() % 2 == 0 {
                        own.device_control(serial::SET_BAUD_RATE, &[1, 2, 3, 4], 0, irql)
                    } else {
                        own.write(0, 8, irql)
                    };
                    if let Err((own, _)) = sent {
                        self.place.irp.with(irql, |place, _| *place = Some(own));
                    }
                }
                irp.complete(NtStatus::SUCCESS, irql)
            }
            CANCEL => {
                self.handle.cancel(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            SERVE => {
                let irp = irp.with_record(self.count.clone());
                let (start, pending) = self.queue.insert(irp, irql);
                self.start(start, irql);
                pending
            }
            READ => {
                let mut output = [1; 8];
                match self.lower.read(0, &mut output, None, irql) {
                    Ok(_) => irp.complete(NtStatus::SUCCESS, irql),
                    Err(error) => irp.complete(error, irql),
                }
            }
            DONE => {
                self.done(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            DROP => {
                // Under the lock.
                self.served.with(irql, |place, _| *place = None);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => {
                let irp = irp.with_record(self.count.clone());
                match (code >> 2) % 5 {
                    0 => irp.forward(irql),
                    1 => irp.forward_with_routine::<ReturnRoutine>(irql),
                    2 => irp.forward_with_observer::<ReturnRoutine>(irql),
                    3 => irp.forward_and_wait(irql).complete(irql),
                    _ => {
                        let (irp, pending) = irp.pend_not_cancelable(irql);
                        irp.forward_with_routine::<ReturnRoutine>(irql);
                        pending
                    }
                }
            }
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        drop(self.place.irp.with(irql, |place, _| place.take()));
        self.done(irql);
    }
}

/// Runs a closure in several threads, with a file of their own, and unloads the driver.
fn run(body: impl Fn(&crate::kernel::io::File) + Sync) {
    let _kernel = Kernel::start();
    let loaded = Loaded::new::<TestDevice>();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let file = loaded.open().expect("the device opens");
                body(&file);
                file.cleanup();
            });
        }
    });
    loaded.unload();
}

#[test]
fn requests_are_forwarded_in_each_way() {
    run(|file| {
        for time in 0..TIMES.max(5) {
            let code = FORWARD[time as usize % FORWARD.len()];
            assert_eq!(file.ioctl(code, &[1, 2, 3, 4], 4).wait(), STATUS_SUCCESS);
        }
    });
}

#[test]
fn a_request_that_the_driver_made_is_sent_and_cancelled_at_the_same_time() {
    run(|file| {
        for _ in 0..TIMES {
            file.ioctl(SEND, &[], 0);
            file.ioctl(CANCEL, &[], 0);
            assert_eq!(file.ioctl(READ, &[], 0).wait(), STATUS_SUCCESS);
        }
    });
}

#[test]
fn a_request_that_is_served_is_taken_back_cancelled_or_dropped() {
    run(|file| {
        let mut all = Vec::new();
        for time in 0..TIMES {
            let served = file.ioctl(SERVE, &[], 0);
            std::thread::scope(|scope| {
                if time % 4 != 3 {
                    scope.spawn(|| file.ioctl(DONE, &[], 0));
                }
                if time % 2 == 1 {
                    served.cancel();
                }
            });
            // The request that was cancelled last may be the one that was served, and is freed.
            file.ioctl(DONE, &[], 0);
            all.push(served);
        }
        file.ioctl(DROP, &[], 0);
        file.cleanup();
        for request in all {
            let ends = [STATUS_SUCCESS, STATUS_CANCELLED, STATUS_INTERNAL_ERROR];
            assert!(ends.contains(&request.wait()));
        }
    });
}
