//! A driver rejects, accepts and ends the requests of its queues in every order, while their handle is closed and the device
//! is removed. In each order every request is completed once: the model kernel stops at a second completion, and this
//! test finds a request that is not completed.

mod common;

use std::time::Duration;

use common::{Controlled, Controls, Loaded, Place, Quiet, place};
use wdm::{
    CurrentIrp, Error, Handled, Irp, IrpQueue, NewDevice, NtStatus, PassiveLevel, Shared, Start,
    StartIoOrder, StartIoQueue,
};

/// The operation of the driver for a request, or an event for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Queue,
    Start,
    Refuse,
    Accept,
    Purge,
    Next,
    DropCurrent,
    Cancel,
    Close,
    Remove,
}

use Step::{Accept, Cancel, Close, DropCurrent, Next, Purge, Queue, Refuse, Remove};

const ALL: [Step; 10] = [
    Queue,
    Step::Start,
    Refuse,
    Accept,
    Purge,
    Next,
    DropCurrent,
    Cancel,
    Close,
    Remove,
];

impl Step {
    /// The IOCTL of the step.
    const fn code(self) -> u32 {
        0x22_2000 + 4 * self as u32
    }
}

struct Server {
    queue: Shared<IrpQueue<Quiet<true>>>,
    start_io: Shared<StartIoQueue<Quiet<true>>>,
    current: Place<CurrentIrp<Quiet<true>>>,
}

impl Server {
    fn serve(&self, start: Start<Quiet<true>>, irql: &mut PassiveLevel) {
        if let Start::Now(irp) = start {
            let old = self.current.with(irql, |current, _| current.replace(irp));
            assert!(old.is_none(), "two requests are served");
        }
    }
}

impl Controls for Server {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let start_io = StartIoQueue::new(StartIoOrder::Arrival, Quiet, device, irql)?;
        Ok(Self {
            queue,
            start_io,
            current: place(device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let step = ALL.into_iter().find(|step| step.code() == irp.code());
        match step.expect("a step") {
            Queue => return self.queue.insert(irp, irql),
            Step::Start => {
                let (start, handled) = self.start_io.insert(irp, irql);
                self.serve(start, irql);
                return handled;
            }
            Refuse => {
                self.queue.refuse(NtStatus::DEVICE_BUSY, irql);
                self.start_io.refuse(NtStatus::DEVICE_BUSY, irql);
            }
            Accept => {
                self.queue.accept(irql);
                self.start_io.accept(irql);
            }
            Purge => {
                self.queue.purge(NtStatus::IO_TIMEOUT, irql);
                self.start_io.purge(NtStatus::IO_TIMEOUT, irql);
            }
            Next => {
                let current = self.current.with(irql, |current, _| current.take());
                if let Some(current) = current {
                    let (served, next) = current.start_next(irql);
                    // It waits again, on the other queue.
                    self.queue.insert_pended(served, irql);
                    self.serve(next, irql);
                }
            }
            _ => self.current.with(irql, |current, _| *current = None),
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }

    /// Accepts requests again and queues the one that it serves, although the device was removed.
    fn remove(&self, irql: &mut PassiveLevel) {
        self.queue.accept(irql);
        self.start_io.accept(irql);
        let current = self.current.with(irql, |current, _| current.take());
        if let Some(current) = current {
            let (served, next) = current.start_next(irql);
            self.queue.insert_pended(served, irql);
            assert!(matches!(next, Start::Nothing));
        }
    }
}

/// Queues two requests, starts two others, of which one is served and one waits, and then runs the steps.
fn run(steps: &[Step]) {
    let driver = Loaded::new::<Controlled<Server>>();
    let mut requests = Vec::new();
    for step in [Accept, Queue, Step::Start, Step::Start, Queue]
        .iter()
        .chain(steps)
    {
        match step {
            Queue | Step::Start => requests.push(driver.send(step.code(), 1)),
            Cancel => drop(requests.last().map(ntmodel::Request::cancel_irp)),
            Close => driver.clean_up(1),
            Remove => driver.device.surprise_remove(),
            _ => drop(driver.send(step.code(), 9)),
        }
    }
    if steps.contains(&Close) {
        // The current request is not on a queue, and is inserted into one.
        driver.send(Next.code(), 9);
    } else {
        driver.device.surprise_remove();
    }
    for request in &requests {
        let ended = request.wait(Duration::from_secs(1));
        assert!(ended.is_some(), "{steps:?}");
    }
    driver.unload();
}

/// Calls a routine with every sequence of `length` steps in which the handle is closed once and the device removed once
/// at most.
fn each(length: usize, steps: &mut Vec<Step>, run: &impl Fn(&[Step])) {
    if length == 0 {
        return run(steps);
    }
    for step in ALL {
        if matches!(step, Close | Remove) && steps.contains(&step) {
            continue;
        }
        // No request is sent through a closed handle or to a removed device.
        if matches!(step, Queue | Step::Start) && steps.contains(&Close) {
            continue;
        }
        steps.push(step);
        each(length - 1, steps, run);
        steps.pop();
    }
}

#[test]
fn every_request_is_completed_once_in_every_order() {
    each(4, &mut Vec::new(), &run);
}
