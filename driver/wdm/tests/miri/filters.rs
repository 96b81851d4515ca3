//! A filter that keeps requests on a queue, and forwards them later, while their files are closed and the device is removed.

use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use pinned_init::PinInit;
use wdm::{
    Error, FileIrp, Filter, Handled, Irp, IrpQueue, MajorFunction, NewFilter, NtStatus,
    PassiveLevel, QueueCallbacks, Shared, WorkItem, WorkItemRoutine, irql::CallerLevel,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::Loaded},
};

/// Waits on the queue.
const DELAY: u32 = 0x22_2000;
/// Forwards the requests that wait.
const RESUME: u32 = 0x22_2004;

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();

    const LOOKUP: bool = true;
}

struct Resume(Shared<IrpQueue<Quiet>>);

impl WorkItemRoutine for Resume {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while let Some(irp) = item.0.remove_first(irql) {
            irp.forward(irql);
        }
    }
}

struct Delays {
    queue: Shared<IrpQueue<Quiet>>,
    resume: Shared<WorkItem<Resume>>,
}

impl Filter for Delays {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let resume = WorkItem::new(Ok::<_, Error>(Resume(queue.clone())), device, irql)?;
        Ok(Ok::<_, Error>(Self { queue, resume }))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Create => irp.forward_and_wait(irql).complete(irql),
            _ => irp.forward(irql),
        }
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.code() {
            DELAY => self.queue.insert(irp, irql),
            RESUME => {
                WorkItem::queue(&self.resume, irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => irp.forward(irql),
        }
    }
}

#[test]
fn delayed_requests_are_forwarded_or_cancelled_with_their_file() {
    let _kernel = Kernel::start();
    let loaded = Loaded::filter::<Delays>();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let file = loaded.open().expect("the device opens");
                let mut all = Vec::new();
                for time in 0..TIMES {
                    all.push(file.ioctl(DELAY, &[], 0));
                    if time % 3 == 1 {
                        file.ioctl(RESUME, &[], 0);
                    }
                    if time % 3 == 2 {
                        all[time as usize].cancel();
                    }
                }
                // Cancels the requests that still wait, and those that arrive later.
                file.cleanup();
                all.push(file.ioctl(DELAY, &[], 0));
                let ends = [STATUS_SUCCESS, STATUS_CANCELLED, STATUS_DELETE_PENDING];
                for request in all {
                    assert!(ends.contains(&request.wait()));
                }
            });
        }
    });
    loaded.unload();
}
