//! A driver that keeps requests while it is paused, and forwards them later: in a work item, and again if the lower driver was
//! busy.

mod common;

use std::sync::Arc;

use common::{Stack, code, end, kernel, load, load_filter};
use ntmodel::{Access, File, Kernel, Request, explore};
use pinned_init::PinInit;
use wdm::{
    CompletionRoutine, Device, Error, Filter, Guid, Handled, InterlockedLong, Irp, IrpQueue,
    MajorFunction, NewDevice, NewFilter, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks,
    Returned, Shared, WorkItem, WorkItemRoutine, irql::CallerLevel,
};

const RESUME: u32 = code(0x800);
/// The codes of requests that are forwarded, each by another method.
const ONE_WAY: u32 = code(0x801);
const AND_WAIT: u32 = code(0x802);
const AND_RETRY: u32 = code(0x803);

/// The lower driver: fails every second request of [`AND_RETRY`].
struct Busy(InterlockedLong);

impl Filter for Busy {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(InterlockedLong::new(0))))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::DeviceControl
                if irp.code() == AND_RETRY && self.0.increment() % 2 == 1 =>
            {
                irp.complete(Error::DEVICE_BUSY, irql)
            }
            MajorFunction::DeviceControl => irp.complete_with(&7_u32, irql),
            _ => irp.forward(irql),
        }
    }
}

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = Shared<Paused>;
}

/// The record of a request: the queue to which it returns, and the work item that forwards it again.
struct Paused {
    queue: Shared<IrpQueue<Quiet>>,
    resume: Shared<WorkItem<Resume>>,
}

struct Resume(Shared<IrpQueue<Quiet>>);

impl WorkItemRoutine for Resume {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while let Some(irp) = item.0.remove_first(irql) {
            match irp.code() {
                ONE_WAY => irp.forward(irql),
                AND_WAIT => {
                    let returned = irp.forward_and_wait(irql);
                    assert_eq!(returned.output_bytes(), Ok(&7_u32.to_ne_bytes()[..]));
                    returned.complete(irql);
                }
                _ => irp.forward_with_routine::<Retry>(irql),
            }
        }
    }
}

struct Retry;

impl CompletionRoutine for Retry {
    type Record = Shared<Paused>;

    fn run(mut irp: Returned<PendedIrp<Shared<Paused>>>, irql: &mut CallerLevel) {
        assert_eq!(
            irp.user_buffer().map(|_| ()),
            Err(Error::INVALID_DEVICE_REQUEST)
        );
        match irp.result() {
            Ok(()) => irp.complete(irql),
            Err(error) => {
                assert_eq!(error, Error::DEVICE_BUSY);
                assert_eq!(irp.output_bytes(), Ok(&[][..]));
                let Ok(irp) = irp.into_irp() else { return };
                let resume = irp.record().resume.clone();
                let queue = irp.record().queue.clone();
                queue.put_back(irp, irql);
                WorkItem::queue(&resume, irql);
            }
        }
    }
}

struct Pause {
    paused: Shared<Paused>,
    starts: InterlockedLong,
}

impl Device for Pause {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let resume = WorkItem::new(Ok::<_, Error>(Resume(queue.clone())), device, irql)?;
        let paused = Shared::new(Ok::<_, Error>(Paused { queue, resume }), device, irql)?;
        Ok(Ok::<_, Error>(Self {
            paused,
            starts: InterlockedLong::new(0),
        }))
    }

    /// Fails when it is called again.
    fn start(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        match self.starts.increment() {
            1 => Ok(()),
            _ => Err(Error::DEVICE_NOT_CONNECTED),
        }
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if self.starts.read() == 0 {
            return irp.complete(Error::DEVICE_NOT_READY, irql);
        }
        if irp.code() == RESUME {
            WorkItem::queue(&self.paused.resume, irql);
            return irp.complete(NtStatus::SUCCESS, irql);
        }
        let irp = irp.with_record(self.paused.clone());
        self.paused.queue.insert(irp, irql)
    }
}

fn stack(kernel: &Arc<Kernel>) -> Stack {
    Stack::new(load_filter::<Busy>(kernel)).function(load::<Pause>(kernel))
}

fn started(kernel: &Arc<Kernel>) -> (Stack, File) {
    let stack = stack(kernel).started();
    let file = stack.open();
    (stack, file)
}

fn send(file: &File, code: u32) -> Request {
    file.device_control(code, &[], vec![0; 4])
}

#[test]
fn request_is_forwarded_when_the_device_is_resumed() {
    let (stack, file) = started(&kernel());
    for code in [ONE_WAY, AND_WAIT, AND_RETRY] {
        let [cancelled, waiting] = [(); 2].map(|()| send(&file, code));
        assert!(cancelled.cancel());
        assert_eq!(cancelled.status(), Some(nt::STATUS_CANCELLED));
        assert_eq!(waiting.status(), None);
        assert_eq!(send(&file, RESUME).answer(), 0);
        let end = end(&waiting);
        assert_eq!((end.status, end.output), (0, 7_u32.to_ne_bytes().to_vec()));
    }
    file.close();
    stack.unload();
}

fn resumed_cancelled_and_removed(kernel: &Arc<Kernel>, code: u32) {
    let (stack, file) = started(kernel);
    let waiting = Arc::new(send(&file, code));
    assert_eq!(send(&file, RESUME).answer(), 0);
    let waiting_clone = Arc::clone(&waiting);
    let canceller = kernel.actor("canceller", move || waiting_clone.cancel());
    stack.device.surprise_remove();
    canceller.join();
    let end = end(&waiting);
    let possible = [0, nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&end.status), "{end:x?}");
    drop(waiting);
    file.close();
    stack.unload();
}

#[test]
fn forwarded_request_ends_once_in_each_explored_schedule() {
    explore::check(500, |kernel| resumed_cancelled_and_removed(kernel, ONE_WAY));
    explore::check(500, |kernel| {
        resumed_cancelled_and_removed(kernel, AND_RETRY);
    });
}

#[test]
fn device_is_started_before_it_can_be_found() {
    let stack = stack(&kernel());
    let early = stack.device.open_anyway(Access::ReadWrite).expect("opens");
    assert_eq!(send(&early, RESUME).answer(), nt::STATUS_DEVICE_NOT_READY);
    stack.device.start().expect("the device starts");
    assert_eq!(send(&early, RESUME).answer(), 0);
    assert!(stack.device.is_interface_enabled());
    early.close();
    let result = stack.device.start();
    assert_eq!(result, Err(Error::DEVICE_NOT_CONNECTED.to_raw()));
    assert!(stack.device.is_removed());
    stack.unload();
}
