//! Tests of `IrpQueue`: insertion, completion, cancellation, cleanup and removal at the same time.

use std::sync::Arc;

use nt::{IRP_MN_QUERY_REMOVE_DEVICE, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{File, Kernel, Request, explore::Actor};
use pinned_init::PinInit;
use wdm::{
    Error, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared,
};

use crate::{
    EVERY, GUARDED, MANY, Test,
    harness::{Harness, PEND, send, status_if},
};

/// The tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "queue::cancel_against_completion",
        summary: "a request is cancelled and completed at the same time: it is completed once",
        searches: GUARDED,
        run: cancel_against_completion,
    },
    Test {
        name: "queue::cancel_against_insertion",
        summary: "a request is cancelled while it is being queued: it is completed as cancelled",
        searches: EVERY,
        run: cancel_against_insertion,
    },
    Test {
        name: "queue::cancel_against_cleanup",
        summary: "a request is cancelled while its file is closed: it is completed once, as cancelled",
        searches: GUARDED,
        run: cancel_against_cleanup,
    },
    Test {
        name: "queue::completion_against_cleanup",
        summary: "requests of two files are completed while one file is closed: each is completed once",
        searches: GUARDED,
        run: completion_against_cleanup,
    },
    Test {
        name: "queue::query_remove_against_insertion",
        summary: "a request arrives during IRP_MN_QUERY_REMOVE_DEVICE: it is served as usual",
        searches: EVERY,
        run: query_remove_against_insertion,
    },
    Test {
        name: "queue::close_against_insertion",
        summary: "a handle is closed while a request arrives through it: the request is cancelled",
        searches: GUARDED,
        run: close_against_insertion,
    },
    Test {
        name: "queue::removal_against_insertion",
        summary: "a request arrives during a surprise removal: it is completed with STATUS_DELETE_PENDING",
        searches: GUARDED,
        run: removal_against_insertion,
    },
    Test {
        name: "queue::removal_against_cancel",
        summary: "a request is cancelled during a surprise removal: it is completed once",
        searches: EVERY,
        run: removal_against_cancel,
    },
    Test {
        name: "queue::lookup_against_cancel",
        summary: "requests with one key are cancelled and completed by key: each is completed once, the older one first",
        searches: GUARDED,
        run: lookup_against_cancel,
    },
    Test {
        name: "queue::three_actors",
        summary: "three threads send, cancel and complete two requests each: every request is completed once",
        searches: MANY,
        run: three_actors,
    },
];

/// The IOCTL that completes the oldest pending request of a key.
const COMPLETE_BY_KEY: u32 = 0x22_3004;

/// A device with one queue.
struct Waiters {
    queue: Shared<IrpQueue<ByCode>>,
}

/// Callbacks for a queue that finds requests by their IOCTL code.
struct ByCode;

impl QueueCallbacks for ByCode {
    type Record = ();

    const LOOKUP: bool = true;

    fn lookup_key(&self, irp: &IrpView) -> u64 {
        irp.code().into()
    }
}

impl wdm::Device for Waiters {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(ByCode, device, irql)?;
        Ok(Ok::<_, Error>(Self { queue }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() == PEND {
            return self.queue.insert(irp, irql);
        }
        let found = match irp.code() {
            COMPLETE_BY_KEY => self.queue.remove_by_key(PEND.into(), irql),
            _ => self.queue.remove_first(irql),
        };
        let status = match found {
            Some(pended) => {
                pended.complete(NtStatus::SUCCESS, irql);
                NtStatus::SUCCESS
            }
            None => NtStatus::NOT_FOUND,
        };
        irp.complete(status, irql)
    }
}

/// Starts a thread that cancels a request.
fn cancelling(kernel: &Arc<Kernel>, request: &Arc<Request>) -> Actor<bool> {
    let request = Arc::clone(request);
    kernel.actor("canceller", move || request.cancel())
}

fn cancel_against_completion(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let request = Arc::new(harness.send(PEND));
    let canceller = cancelling(kernel, &request);
    let completed = harness.complete();
    canceller.join();
    harness.end(&request, &[status_if(completed)]);
    harness.tear_down();
}

fn cancel_against_insertion(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let request = harness.send(PEND);
    if !canceller.join() {
        // The canceller ran too early.
        request.cancel();
    }
    harness.end(&request, &[STATUS_CANCELLED]);
    harness.tear_down();
}

fn cancel_against_cleanup(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let file = harness.open();
    let request = Arc::new(send(&file, PEND));
    let canceller = cancelling(kernel, &request);
    drop(file);
    canceller.join();
    harness.end(&request, &[STATUS_CANCELLED]);
    harness.tear_down();
}

fn completion_against_cleanup(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let file = harness.open();
    let of_closed_file = send(&file, PEND);
    let kept = harness.send(PEND);
    let closer = kernel.actor("closer", move || drop(file));
    harness.complete();
    closer.join();
    let first = harness.end(&of_closed_file, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    if first == STATUS_SUCCESS {
        kernel.verify(harness.complete(), || {
            "the request of the other file is lost".into()
        });
    }
    harness.end(&kept, &[STATUS_SUCCESS]);
    harness.tear_down();
}

fn query_remove_against_insertion(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let device = harness.device.clone();
    let pnp_manager = kernel.actor("PnP manager", move || {
        device.pnp(IRP_MN_QUERY_REMOVE_DEVICE)
    });
    let request = harness.send(PEND);
    pnp_manager.join();
    kernel.verify(harness.complete(), || {
        "the pending request was not found".into()
    });
    harness.end(&request, &[STATUS_SUCCESS]);
    harness.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE);
    harness.tear_down();
}

fn close_against_insertion(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let file = harness.open();
    let closer = harness.actor("closer", &file, File::close_handle);
    let request = send(&file, PEND);
    closer.join();
    harness.end(&request, &[STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE]);
    drop(file);
    harness.tear_down();
}

fn removal_against_insertion(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let device = harness.device.clone();
    let pnp_manager = kernel.actor("PnP manager", move || device.surprise_remove());
    let request = harness.send(PEND);
    pnp_manager.join();
    harness.end(&request, &[STATUS_DELETE_PENDING]);
    harness.tear_down();
}

fn removal_against_cancel(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let request = Arc::new(harness.send(PEND));
    let canceller = cancelling(kernel, &request);
    harness.device.surprise_remove();
    canceller.join();
    harness.end(&request, &[STATUS_DELETE_PENDING, STATUS_CANCELLED]);
    harness.tear_down();
}

fn lookup_against_cancel(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let older = Arc::new(harness.send(PEND));
    let newer = harness.send(PEND);
    let canceller = cancelling(kernel, &older);
    let found = harness.send(COMPLETE_BY_KEY).answer();
    kernel.verify(found == STATUS_SUCCESS, || {
        format!("no request was found by its key: {found:#x}")
    });
    canceller.join();
    let end = harness.end(&older, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    if end == STATUS_SUCCESS {
        newer.cancel();
        harness.end(&newer, &[STATUS_CANCELLED]);
    } else {
        harness.end(&newer, &[STATUS_SUCCESS]);
    }
    harness.tear_down();
}

fn three_actors(kernel: &Arc<Kernel>) {
    let harness = Harness::new::<Waiters>(kernel);
    let sender = harness.actor("sender", &harness.file, |file| {
        [PEND; 2].map(|code| send(file, code))
    });
    let canceller = harness.actor("canceller", &harness.file, |file| {
        file.cancel_all();
        file.cancel_all();
    });
    let completed = [harness.complete(), harness.complete()];
    canceller.join();
    let requests = sender.join();
    while harness.complete() {}
    let ends = requests.map(|request| harness.end(&request, &[STATUS_SUCCESS, STATUS_CANCELLED]));
    let succeeded = ends.iter().filter(|end| **end == STATUS_SUCCESS).count();
    let claimed = completed.iter().filter(|completed| **completed).count();
    kernel.verify(claimed <= succeeded, || {
        format!("{claimed} requests were completed, but {succeeded} ended with success")
    });
    harness.tear_down();
}
