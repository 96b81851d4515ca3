//! Scenes of `StartIoQueue`: a device that serves one request at a time, while others are cancelled, cleaned up or come.

use std::sync::Arc;

use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{Access, File, Kernel, Request};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Error, Guid, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared, SpinLock, Start, StartIoOrder, StartIoQueue, irql::NoSpinLockHeld,
};

use crate::{EVERY, FEW_PREEMPTIONS, MANY, Scene, stage::Stage};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "start_io::cancel_against_service",
        summary: "a request that waits is cancelled while its turn comes: it is served, or cancelled",
        searches: FEW_PREEMPTIONS,
        run: cancel_against_service,
    },
    Scene {
        name: "start_io::cancel_against_insertion",
        summary: "a request is cancelled while it comes to an idle device, which is left idle or serves it",
        searches: EVERY,
        run: cancel_against_insertion,
    },
    Scene {
        name: "start_io::cancel_against_waiting",
        summary: "a request is cancelled while it comes to a device that is busy: it ends at once, and is not served",
        searches: EVERY,
        run: cancel_against_waiting,
    },
    Scene {
        name: "start_io::insertion_against_service",
        summary: "a request comes while the last one ends: it is started, by one of the two",
        searches: FEW_PREEMPTIONS,
        run: insertion_against_service,
    },
    Scene {
        name: "start_io::cleanup_against_service",
        summary: "a file is closed while its waiting request's turn comes: the other file's is served",
        searches: FEW_PREEMPTIONS,
        run: cleanup_against_service,
    },
    Scene {
        name: "start_io::close_against_insertion",
        summary: "a handle is closed while a request arrives through it: the request is cancelled, and does not stay",
        searches: FEW_PREEMPTIONS,
        run: close_against_insertion,
    },
    Scene {
        name: "start_io::removal_against_insertion",
        summary: "a request comes while the device is taken away: it is served or ends, and none is lost",
        searches: MANY,
        run: removal_against_insertion,
    },
];

/// The IOCTLs of the scenes' device: pend this request with the key that is added to it four times; or complete the request
/// that is served, and start the next.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_3000;

/// A device that serves a request until another request completes it.
#[pin_data]
struct Server {
    queue: Shared<StartIoQueue<Keys>>,
    #[pin]
    serving: SpinLock<Serving>,
}

#[derive(Default)]
struct Serving {
    current: Option<CurrentIrp<Keys>>,
    /// Whether nobody will tell the device any more to complete it.
    is_gone: bool,
}

/// Counts nothing, and reads the key from the IOCTL code.
struct Keys;

impl QueueCallbacks for Keys {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}

    fn key(&self, irp: &IrpView) -> u32 {
        (irp.code() - PEND) / 4
    }
}

impl Server {
    /// Serves the next request, or ends it if the device is gone. Whatever was served already would be dropped, and so
    /// found.
    fn start(&self, mut start: Start<Keys>, irql: &mut PassiveLevel) {
        while let Start::Now(irp) = start {
            let refused = self.serving.with(irql, |serving, _| {
                if serving.is_gone {
                    return Err(irp);
                }
                Ok(serving.current.replace(irp))
            });
            match refused {
                Ok(before) => return drop(before),
                Err(irp) => start = Self::end(irp, NtStatus::DELETE_PENDING, irql),
            }
        }
    }

    /// Ends what is served, and gives what comes next.
    fn end(current: CurrentIrp<Keys>, status: NtStatus, irql: &mut PassiveLevel) -> Start<Keys> {
        let (pended, next) = current.start_next(irql);
        pended.complete(status, irql);
        next
    }

    fn take_current(&self, irql: &mut PassiveLevel) -> Option<CurrentIrp<Keys>> {
        self.serving.with(irql, |serving, _| serving.current.take())
    }
}

impl wdm::Device for Server {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = StartIoQueue::new(StartIoOrder::Key, Keys, device, irql)?;
        Ok(try_pin_init!(Self {
            queue,
            serving <- SpinLock::new(Serving::default()),
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() != COMPLETE {
            let (start, pending) = self.queue.insert(irp, irql);
            self.start(start, irql);
            return pending;
        }
        let Some(current) = self.take_current(irql) else {
            return irp.complete(NtStatus::NOT_FOUND, irql);
        };
        let next = Self::end(current, NtStatus::SUCCESS, irql);
        self.start(next, irql);
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.serving.with(irql, |serving, _| serving.is_gone = true);
        if let Some(current) = self.take_current(irql) {
            let next = Self::end(current, NtStatus::DELETE_PENDING, irql);
            self.start(next, irql);
        }
    }
}

fn set(kernel: &Arc<Kernel>) -> Stage {
    Stage::set::<Server>(kernel)
}

/// Completes the request that is served, and says whether there was one.
fn complete(stage: &Stage) -> bool {
    stage.send(COMPLETE).answer() == STATUS_SUCCESS
}

fn open(stage: &Stage) -> File {
    let file = stage.device.open(Access::ReadWrite);
    file.expect("the device opens")
}

/// Has served whatever waits, so that the device is idle.
fn serve_all(stage: &Stage) {
    while complete(stage) {}
}

fn cancel_against_service(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let served = stage.send(PEND);
    let waits = Arc::new(stage.send(PEND));
    let canceller = {
        let waits: Arc<Request> = Arc::clone(&waits);
        kernel.actor("canceller", move || waits.cancel())
    };
    complete(&stage);
    canceller.join();
    let was_served = complete(&stage);
    stage.must_end(&served, &[STATUS_SUCCESS]);
    let expected = if was_served {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    stage.must_end(&waits, &[expected]);
    stage.strike();
}

fn cancel_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let canceller = {
        let file = Arc::clone(&stage.file);
        kernel.actor("canceller", move || file.cancel_all())
    };
    let request = stage.send(PEND);
    canceller.join();
    let was_served = complete(&stage);
    let expected = if was_served {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    stage.must_end(&request, &[expected]);
    // The device is idle, so the next one is started at once.
    let next = stage.send(PEND);
    kernel.must(complete(&stage), || {
        "a request that comes to an idle device is not started".into()
    });
    stage.must_end(&next, &[STATUS_SUCCESS]);
    stage.strike();
}

fn cancel_against_waiting(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let served = stage.send(PEND);
    let file = Arc::new(open(&stage));
    let canceller = {
        let file = Arc::clone(&file);
        kernel.actor("canceller", move || file.cancel_all())
    };
    let waits = file.device_control(PEND + 4, &[], Vec::new());
    if !canceller.join() {
        // It came too early.
        waits.cancel();
    }
    stage.must_end(&waits, &[STATUS_CANCELLED]);
    serve_all(&stage);
    stage.must_end(&served, &[STATUS_SUCCESS]);
    drop(file);
    stage.strike();
}

fn insertion_against_service(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let first = stage.send(PEND);
    let sender = {
        let file = Arc::clone(&stage.file);
        kernel.actor("sender", move || {
            file.device_control(PEND + 4, &[], Vec::new())
        })
    };
    complete(&stage);
    let second = sender.join();
    kernel.must(complete(&stage), || {
        "the second request is served by nobody".into()
    });
    stage.must_end(&first, &[STATUS_SUCCESS]);
    stage.must_end(&second, &[STATUS_SUCCESS]);
    stage.strike();
}

fn cleanup_against_service(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let file = open(&stage);
    let served = stage.send(PEND);
    let doomed = file.device_control(PEND + 4, &[], Vec::new());
    let waits = stage.send(PEND + 8);
    let closer = kernel.actor("closer", move || file.close());
    complete(&stage);
    closer.join();
    serve_all(&stage);
    stage.must_end(&served, &[STATUS_SUCCESS]);
    stage.must_end(&doomed, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    stage.must_end(&waits, &[STATUS_SUCCESS]);
    stage.strike();
}

fn close_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let served = stage.send(PEND);
    let file = Arc::new(open(&stage));
    let closer = {
        let file = Arc::clone(&file);
        kernel.actor("closer", move || file.close_handle())
    };
    let request = file.device_control(PEND + 4, &[], Vec::new());
    closer.join();
    stage.must_end(&request, &[STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE]);
    serve_all(&stage);
    stage.must_end(&served, &[STATUS_SUCCESS]);
    drop(file);
    stage.strike();
}

fn removal_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let served = stage.send(PEND);
    let taking = {
        let device = stage.device.clone();
        kernel.actor("PnP manager", move || device.surprise_remove())
    };
    let waits = stage.send(PEND);
    complete(&stage);
    serve_all(&stage);
    taking.join();
    for request in [served, waits] {
        stage.must_end(&request, &[STATUS_SUCCESS, STATUS_DELETE_PENDING]);
    }
    stage.strike();
}
