//! Scenes of `IrpQueue`: submission, completion, cancellation, cleanup and removal against each other.

use std::sync::Arc;

use nt::{IRP_MN_QUERY_REMOVE_DEVICE, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{Kernel, Request};
use pinned_init::PinInit;
use wdm::{
    Error, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared, irql::NoSpinLockHeld,
};

use crate::{EVERY, FEW_PREEMPTIONS, MANY, Scene, stage::Stage};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "queue::cancel_against_completion",
        summary: "a request is cancelled and completed at once: it ends once, either way",
        searches: FEW_PREEMPTIONS,
        run: cancel_against_completion,
    },
    Scene {
        name: "queue::cancel_against_insertion",
        summary: "a request is cancelled while it is being queued: it ends as cancelled",
        searches: EVERY,
        run: cancel_against_insertion,
    },
    Scene {
        name: "queue::cancel_against_cleanup",
        summary: "a request is cancelled while its file is closed: it ends as cancelled, once",
        searches: FEW_PREEMPTIONS,
        run: cancel_against_cleanup,
    },
    Scene {
        name: "queue::completion_against_cleanup",
        summary: "requests of two files are completed while one file is closed: each ends once",
        searches: FEW_PREEMPTIONS,
        run: completion_against_cleanup,
    },
    Scene {
        name: "queue::query_remove_against_insertion",
        summary: "a request arrives while the device may be about to be removed: it is served as usual",
        searches: EVERY,
        run: query_remove_against_insertion,
    },
    Scene {
        name: "queue::close_against_insertion",
        summary: "a handle is closed while a request arrives through it: the request is cancelled, and does not stay",
        searches: FEW_PREEMPTIONS,
        run: close_against_insertion,
    },
    Scene {
        name: "queue::removal_against_insertion",
        summary: "a request comes while the device is taken away: it ends as the device does",
        searches: FEW_PREEMPTIONS,
        run: removal_against_insertion,
    },
    Scene {
        name: "queue::removal_against_cancel",
        summary: "a request is cancelled while the device is taken away: it ends once, either way",
        searches: EVERY,
        run: removal_against_cancel,
    },
    Scene {
        name: "queue::lookup_against_cancel",
        summary: "requests of one key are cancelled and completed by key: each ends once, the older first",
        searches: FEW_PREEMPTIONS,
        run: lookup_against_cancel,
    },
    Scene {
        name: "queue::three_actors",
        summary: "one sends, one cancels, one completes, two requests each: every request ends once",
        searches: MANY,
        run: three_actors,
    },
];

/// The IOCTLs of the scenes' device: pend this request, or complete the oldest that pends, found as the first or by its key.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_2004;
const COMPLETE_BY_KEY: u32 = 0x22_2008;

/// A device with one queue.
struct Waiters {
    queue: Shared<IrpQueue<ByCode>>,
}

/// A queue's callbacks that count nothing, and have it find requests by their code.
struct ByCode;

impl QueueCallbacks for ByCode {
    type Record = ();

    const LOOKUP: bool = true;

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, _: &mut L) {}

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

fn set(kernel: &Arc<Kernel>) -> Stage {
    Stage::set::<Waiters>(kernel)
}

/// Completes the oldest request, and says whether there was one.
fn complete(stage: &Stage) -> bool {
    stage.send(COMPLETE).answer() == STATUS_SUCCESS
}

/// An actor that cancels a request.
fn cancelling(kernel: &Arc<Kernel>, request: &Arc<Request>) -> ntmodel::explore::Actor<bool> {
    let request = Arc::clone(request);
    kernel.actor("canceller", move || request.cancel())
}

fn cancel_against_completion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let request = Arc::new(stage.send(PEND));
    let canceller = cancelling(kernel, &request);
    let completed = complete(&stage);
    canceller.join();
    let expected = if completed {
        STATUS_SUCCESS
    } else {
        STATUS_CANCELLED
    };
    stage.must_end(&request, &[expected]);
    stage.strike();
}

fn cancel_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let canceller = {
        let file = Arc::clone(&stage.file);
        kernel.actor("canceller", move || file.cancel_all())
    };
    let request = stage.send(PEND);
    if !canceller.join() {
        // It came too early.
        request.cancel();
    }
    stage.must_end(&request, &[STATUS_CANCELLED]);
    stage.strike();
}

fn cancel_against_cleanup(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let file = stage
        .device
        .open(ntmodel::Access::ReadWrite)
        .expect("the device opens");
    let request = Arc::new(file.device_control(PEND, &[], Vec::new()));
    let canceller = cancelling(kernel, &request);
    file.close();
    canceller.join();
    stage.must_end(&request, &[STATUS_CANCELLED]);
    stage.strike();
}

fn completion_against_cleanup(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let file = stage
        .device
        .open(ntmodel::Access::ReadWrite)
        .expect("the device opens");
    let doomed = file.device_control(PEND, &[], Vec::new());
    let kept = stage.send(PEND);
    let closer = kernel.actor("closer", move || file.close());
    complete(&stage);
    closer.join();
    let first = stage.must_end(&doomed, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    // Who came second is completed only where the first was gone.
    if first == STATUS_SUCCESS {
        kernel.must(complete(&stage), || {
            "the request of the other file is lost".into()
        });
    }
    stage.must_end(&kept, &[STATUS_SUCCESS]);
    stage.strike();
}

fn query_remove_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let asking = {
        let device = stage.device.clone();
        kernel.actor("PnP manager", move || {
            device.pnp(IRP_MN_QUERY_REMOVE_DEVICE)
        })
    };
    let request = stage.send(PEND);
    asking.join();
    kernel.must(complete(&stage), || {
        "a request that waits is not found".into()
    });
    stage.must_end(&request, &[STATUS_SUCCESS]);
    stage.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE);
    stage.strike();
}

fn close_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let file = stage.device.open(ntmodel::Access::ReadWrite);
    let file = Arc::new(file.expect("the device opens"));
    let closer = {
        let file = Arc::clone(&file);
        kernel.actor("closer", move || file.close_handle())
    };
    let request = file.device_control(PEND, &[], Vec::new());
    closer.join();
    stage.must_end(&request, &[STATUS_CANCELLED, nt::STATUS_INVALID_HANDLE]);
    drop(file);
    stage.strike();
}

fn removal_against_insertion(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let taking = {
        let device = stage.device.clone();
        kernel.actor("PnP manager", move || device.surprise_remove())
    };
    let request = stage.send(PEND);
    taking.join();
    stage.must_end(&request, &[STATUS_DELETE_PENDING]);
    stage.strike();
}

fn removal_against_cancel(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let request = Arc::new(stage.send(PEND));
    let canceller = cancelling(kernel, &request);
    stage.device.surprise_remove();
    canceller.join();
    stage.must_end(&request, &[STATUS_DELETE_PENDING, STATUS_CANCELLED]);
    stage.strike();
}

fn lookup_against_cancel(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let older = Arc::new(stage.send(PEND));
    let newer = stage.send(PEND);
    let canceller = cancelling(kernel, &older);
    let found = stage.send(COMPLETE_BY_KEY).answer();
    kernel.must(found == STATUS_SUCCESS, || {
        format!("nothing is found by key: {found:#x}")
    });
    canceller.join();
    let end = stage.must_end(&older, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    if end == STATUS_SUCCESS {
        newer.cancel();
        stage.must_end(&newer, &[STATUS_CANCELLED]);
    } else {
        stage.must_end(&newer, &[STATUS_SUCCESS]);
    }
    stage.strike();
}

fn three_actors(kernel: &Arc<Kernel>) {
    let stage = set(kernel);
    let sender = {
        let file = Arc::clone(&stage.file);
        kernel.actor("sender", move || {
            [(); 2].map(|()| file.device_control(PEND, &[], Vec::new()))
        })
    };
    let canceller = {
        let file = Arc::clone(&stage.file);
        kernel.actor("canceller", move || {
            file.cancel_all();
            file.cancel_all();
        })
    };
    let completed = [complete(&stage), complete(&stage)];
    canceller.join();
    let requests = sender.join();
    while complete(&stage) {}
    let ends =
        requests.map(|request| stage.must_end(&request, &[STATUS_SUCCESS, STATUS_CANCELLED]));
    let succeeded = ends.iter().filter(|end| **end == STATUS_SUCCESS).count();
    let claimed = completed.iter().filter(|completed| **completed).count();
    kernel.must(claimed <= succeeded, || {
        format!("{claimed} requests were completed, and {succeeded} have ended so")
    });
    stage.strike();
}
