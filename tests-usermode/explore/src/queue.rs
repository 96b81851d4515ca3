//! Tests of `IrpQueue`: insertion, completion, cancellation, cleanup and removal at the same time.

use std::sync::Arc;

use nt::{IRP_MN_QUERY_REMOVE_DEVICE, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{File, Request};
use pinned_init::PinInit;
use wdm::{
    Error, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared,
};

use crate::{
    EVERY, GUARDED, MANY, PREEMPTED, Test,
    harness::{Harness, PEND, send, status_if},
};

/// The tests.
pub const TESTS: &[Test] = tests! { "queue", Waiters:
    cancel_against_completion, GUARDED,
        "a request is cancelled and completed at the same time: it is completed once";
    cancel_against_insertion, EVERY,
        "a request is cancelled while it is being queued: it is completed as cancelled";
    cancel_against_cleanup, GUARDED,
        "a request is cancelled while its file is closed: it is completed once, as cancelled";
    completion_against_cleanup, GUARDED,
        "requests of two files are completed while one file is closed: each is completed once";
    query_remove_against_insertion, EVERY,
        "a request arrives during IRP_MN_QUERY_REMOVE_DEVICE: it is served as usual";
    close_against_insertion, GUARDED,
        "a handle is closed while a request arrives through it: the request is cancelled";
    removal_against_insertion, PREEMPTED,
        "a request arrives during a surprise removal: it is completed with STATUS_DELETE_PENDING";
    removal_against_cancel, PREEMPTED,
        "a request is cancelled during a surprise removal: it is completed once";
    lookup_against_cancel, GUARDED,
        "requests with one key are cancelled and completed by key: each is completed once, the older one first";
    three_actors, MANY,
        "three threads send, cancel and complete two requests each: every request is completed once";
};

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

fn cancel_against_completion(harness: &Harness) {
    let request = Arc::new(harness.send(PEND));
    let canceller = harness.actor("canceller", &request, Request::cancel);
    let completed = harness.complete();
    canceller.join();
    harness.end(&request, &[status_if(completed)]);
}

fn cancel_against_insertion(harness: &Harness) {
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let request = harness.send(PEND);
    if !canceller.join() {
        // The cancellation came before the request was queued.
        request.cancel();
    }
    harness.end(&request, &[STATUS_CANCELLED]);
}

fn cancel_against_cleanup(harness: &Harness) {
    let file = harness.open();
    let request = Arc::new(send(&file, PEND));
    let canceller = harness.actor("canceller", &request, Request::cancel);
    drop(file);
    canceller.join();
    harness.end(&request, &[STATUS_CANCELLED]);
}

fn completion_against_cleanup(harness: &Harness) {
    let file = harness.open();
    let of_closed_file = send(&file, PEND);
    let kept = harness.send(PEND);
    let closer = harness.kernel.actor("closer", move || drop(file));
    harness.complete();
    closer.join();
    let first = harness.end(&of_closed_file, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    if first == STATUS_SUCCESS {
        harness.verify(harness.complete(), || {
            "the request of the other file is lost".into()
        });
    }
    harness.end(&kept, &[STATUS_SUCCESS]);
}

fn query_remove_against_insertion(harness: &Harness) {
    let device = harness.device.clone();
    let pnp_manager = harness.kernel.actor("PnP manager", move || {
        device.pnp(IRP_MN_QUERY_REMOVE_DEVICE)
    });
    let request = harness.send(PEND);
    pnp_manager.join();
    harness.verify(harness.complete(), || {
        "the pending request was not found".into()
    });
    harness.end(&request, &[STATUS_SUCCESS]);
    harness.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE);
}

fn close_against_insertion(harness: &Harness) {
    let file = harness.open();
    let closer = harness.actor("closer", &file, File::close_handle);
    let request = send(&file, PEND);
    closer.join();
    harness.end(&request, &[STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE]);
    drop(file);
}

fn removal_against_insertion(harness: &Harness) {
    let remover = harness.remover();
    let request = harness.send(PEND);
    remover.join();
    harness.end(&request, &[STATUS_DELETE_PENDING]);
}

fn removal_against_cancel(harness: &Harness) {
    let request = Arc::new(harness.send(PEND));
    let canceller = harness.actor("canceller", &request, Request::cancel);
    harness.surprise_remove();
    canceller.join();
    harness.end(&request, &[STATUS_DELETE_PENDING, STATUS_CANCELLED]);
}

fn lookup_against_cancel(harness: &Harness) {
    let older = Arc::new(harness.send(PEND));
    let newer = harness.send(PEND);
    let canceller = harness.actor("canceller", &older, Request::cancel);
    let found = harness.send(COMPLETE_BY_KEY).answer();
    harness.verify(found == STATUS_SUCCESS, || {
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
}

fn three_actors(harness: &Harness) {
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
    harness.complete_all();
    let ends = requests.map(|request| harness.end(&request, &[STATUS_SUCCESS, STATUS_CANCELLED]));
    let succeeded = ends.iter().filter(|end| **end == STATUS_SUCCESS).count();
    let claimed = completed.iter().filter(|completed| **completed).count();
    harness.verify(claimed <= succeeded, || {
        format!("{claimed} requests were completed, but {succeeded} ended with success")
    });
}
