//! Tests of `StartIoQueue`: a device serves one request at a time while others arrive or are cancelled.

use std::sync::Arc;

use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{File, Request};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Error, Guid, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared, SpinLock, Start, StartIoOrder, StartIoQueue,
};

use crate::{
    EVERY, GUARDED, MANY, Test,
    harness::{COMPLETE, Harness, PEND, send, status_if},
};

/// The tests.
pub const TESTS: &[Test] = tests! { "start_io", Server:
    cancel_against_service, GUARDED,
        "a queued request is cancelled while it becomes the next to be served: it is served or cancelled";
    cancel_against_insertion, EVERY,
        "a request is cancelled while it arrives at an idle device: it is served, or the device stays idle";
    cancel_against_waiting, EVERY,
        "a request is cancelled while it arrives at a busy device: it is completed immediately and not served";
    insertion_against_service, GUARDED,
        "a request arrives while the current one is completed: one of the two threads starts it";
    cleanup_against_service, GUARDED,
        "a file is closed while its request becomes the next to be served: the other file's request is served";
    close_against_insertion, GUARDED,
        "a handle is closed while a request arrives through it: the request is cancelled";
    removal_against_insertion, MANY,
        "a request arrives during a surprise removal: it is served or completed with an error";
};

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
    /// Whether the device was removed, so that IOCTLs no longer complete the current request.
    is_removed: bool,
}

/// Callbacks for a queue that orders requests by the key in their IOCTL code.
struct Keys;

impl QueueCallbacks for Keys {
    type Record = ();

    fn key(&self, irp: &IrpView) -> u32 {
        (irp.code() - PEND) / 4
    }
}

impl Server {
    /// Serves the next request, or completes it if the device was removed.
    ///
    /// If another request were being served, it would be dropped, which the test detects.
    fn start(&self, mut start: Start<Keys>, irql: &mut PassiveLevel) {
        while let Start::Now(irp) = start {
            let refused = self.serving.with(irql, |serving, _| {
                if serving.is_removed {
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

    /// Completes the current request; returns the next one.
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
        self.serving
            .with(irql, |serving, _| serving.is_removed = true);
        if let Some(current) = self.take_current(irql) {
            let next = Self::end(current, NtStatus::DELETE_PENDING, irql);
            self.start(next, irql);
        }
    }
}

fn cancel_against_service(harness: &Harness) {
    let served = harness.send(PEND);
    let queued = Arc::new(harness.send(PEND));
    let canceller = harness.actor("canceller", &queued, Request::cancel);
    harness.complete();
    canceller.join();
    let was_served = harness.complete();
    harness.end(&served, &[STATUS_SUCCESS]);
    harness.end(&queued, &[status_if(was_served)]);
}

fn cancel_against_insertion(harness: &Harness) {
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let request = harness.send(PEND);
    canceller.join();
    let was_served = harness.complete();
    harness.end(&request, &[status_if(was_served)]);
    // The device is idle, so the next request is started immediately.
    let next = harness.send(PEND);
    harness.verify(harness.complete(), || {
        "a request that arrived at an idle device was not started".into()
    });
    harness.end(&next, &[STATUS_SUCCESS]);
}

fn cancel_against_waiting(harness: &Harness) {
    let served = harness.send(PEND);
    let file = harness.open();
    let canceller = harness.actor("canceller", &file, File::cancel_all);
    let queued = send(&file, PEND + 4);
    if !canceller.join() {
        // The cancellation came before the request was queued.
        queued.cancel();
    }
    harness.end(&queued, &[STATUS_CANCELLED]);
    harness.complete_all();
    harness.end(&served, &[STATUS_SUCCESS]);
    drop(file);
}

fn insertion_against_service(harness: &Harness) {
    let first = harness.send(PEND);
    let sender = harness.actor("sender", &harness.file, |file| send(file, PEND + 4));
    harness.complete();
    let second = sender.join();
    harness.verify(harness.complete(), || {
        "the second request was not started".into()
    });
    harness.end(&first, &[STATUS_SUCCESS]);
    harness.end(&second, &[STATUS_SUCCESS]);
}

fn cleanup_against_service(harness: &Harness) {
    let file = harness.open();
    let served = harness.send(PEND);
    let of_closed_file = send(&file, PEND + 4);
    let queued = harness.send(PEND + 8);
    let closer = harness.kernel.actor("closer", move || drop(file));
    harness.complete();
    closer.join();
    harness.complete_all();
    harness.end(&served, &[STATUS_SUCCESS]);
    harness.end(&of_closed_file, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    harness.end(&queued, &[STATUS_SUCCESS]);
}

fn close_against_insertion(harness: &Harness) {
    let served = harness.send(PEND);
    let file = harness.open();
    let closer = harness.actor("closer", &file, File::close_handle);
    let request = send(&file, PEND + 4);
    closer.join();
    harness.end(&request, &[STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE]);
    harness.complete_all();
    harness.end(&served, &[STATUS_SUCCESS]);
    drop(file);
}

fn removal_against_insertion(harness: &Harness) {
    let served = harness.send(PEND);
    let remover = harness.remover();
    let queued = harness.send(PEND);
    harness.complete();
    harness.complete_all();
    remover.join();
    for request in [served, queued] {
        harness.end(&request, &[STATUS_SUCCESS, STATUS_DELETE_PENDING]);
    }
}
