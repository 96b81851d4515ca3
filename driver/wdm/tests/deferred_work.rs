//! A thread of the driver does not delay deferred work, and a work item ends with its device.

mod common;

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

use common::{Controlled, Controls, Place, kernel, place, start};
use wdm::{
    Error, Event, EventType, Handled, Irp, NewDevice, NtStatus, PassiveLevel, PendedIrp, Shared,
    SpinLock, Thread, ThreadRoutine, WorkItem, WorkItemRoutine,
};

/// Drops the thread.
const DROP_THREAD: u32 = 0x22_2000;
/// Drops the request under a spin lock.
const DROP_REQUEST: u32 = 0x22_2004;
/// Lets the thread return.
const RETURN: u32 = 0x22_2008;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the work item was refused, and the thread has returned.
static REFUSED: AtomicBool = AtomicBool::new(false);
static RETURNED: AtomicBool = AtomicBool::new(false);

/// A thread that returns when the test permits it, not when it is requested to stop.
struct Slow(Shared<Event>);

impl ThreadRoutine for Slow {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        thread.0.wait(irql);
        RETURNED.store(true, SeqCst);
    }
}

/// A work item that queues itself again.
struct Again;

impl WorkItemRoutine for Again {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        std::thread::yield_now();
        if !WorkItem::queue(item, irql) {
            REFUSED.store(true, SeqCst);
        }
    }
}

struct Worker {
    item: Shared<WorkItem<Again>>,
    may_return: Shared<Event>,
    thread: Place<Thread<Slow>>,
    kept: Place<PendedIrp>,
}

impl Controls for Worker {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let item = WorkItem::new(Ok::<_, Error>(Again), device, irql)?;
        let may_return = Shared::new(Event::new(EventType::Notification, false), device, irql)?;
        let thread = Thread::new(Ok::<_, Error>(Slow(may_return.clone())), device, irql)?;
        thread.start(irql)?;
        Ok(Self {
            item,
            may_return,
            thread: Shared::new(SpinLock::new(Some(thread)), device, irql)?,
            kept: place(device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        match irp.code() {
            DROP_REQUEST => {
                let (irp, handled) = irp.pend_not_cancelable(irql);
                self.kept.with(irql, |kept, _| *kept = Some(irp));
                self.kept.with(irql, |kept, _| *kept = None);
                return handled;
            }
            DROP_THREAD => drop(self.thread.with(irql, |thread, _| thread.take())),
            _ => {
                self.may_return.set(irql);
            }
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        WorkItem::queue(&self.item, irql);
    }
}

#[test]
fn a_thread_delays_no_deferred_work_and_a_work_item_ends_with_its_device() {
    let stack = start::<Controlled<Worker>>(&kernel());
    let file = stack.open();
    let send = |code| file.device_control(code, &[], Vec::new()).wait(TIMEOUT);
    assert_eq!(send(DROP_THREAD).expect("it ends").status, 0);
    // The work item has usually begun after this time. If it has not, the test checks less.
    std::thread::sleep(Duration::from_millis(100));
    let end = send(DROP_REQUEST).expect("it ends while the thread runs");
    assert_eq!(end.status, nt::STATUS_INTERNAL_ERROR);
    assert!(!RETURNED.load(SeqCst) && !REFUSED.load(SeqCst));
    assert_eq!(send(RETURN).expect("it ends").status, 0);
    file.close();
    stack.device.remove().expect("no file is open");
    assert!(RETURNED.load(SeqCst), "the removal waits for the thread");
    let start = Instant::now();
    while !REFUSED.load(SeqCst) {
        assert!(
            start.elapsed() < TIMEOUT,
            "the work item queues itself forever"
        );
        std::thread::yield_now();
    }
    stack.unload();
}
