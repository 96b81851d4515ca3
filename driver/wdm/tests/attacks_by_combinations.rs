//! Attacks that combine the objects that other tests attack separately: a thread owns a value that owns a queue; a timer sets itself and queues a
//! work item that queues itself; the record of a request owns the timer, and the completion routine drops it as its last owner, in a DPC.
//! While they run, the value is run down and the device is removed.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Stack, load, load_filter};
use ntmodel::{Access, File, Kernel, Request, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CompletionRoutine, Device, Dpc, DpcRoutine, Error, Filter, Handled, InterlockedLong, Irp,
    IrpQueue, IrpView, MajorFunction, NewDevice, NewFilter, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks, Returned, Rundown, Shared, SpinLock, Thread, ThreadRoutine, Timer,
    TimerRoutine, WorkItem, WorkItemRoutine,
    irql::{CallerLevel, DispatchLevel, ObjectHeld},
};

/// A request that the thread forwards.
const FORWARD: u32 = 0x22_2000;
/// The device drops its owner of the value, and its thread.
const DROP: u32 = 0x22_2004;
/// The device runs the value down, and then drops its owner.
const RUN_DOWN: u32 = 0x22_2008;

/// The lower driver: completes each request in a DPC.
struct LowerDriver(Shared<Dpc<Completes>>);

#[pin_data]
struct Completes {
    #[pin]
    irps: SpinLock<Vec<PendedIrp>>,
}

impl DpcRoutine for Completes {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        while let Some(irp) = dpc.irps.with(irql, |irps, _| irps.pop()) {
            irp.complete(NtStatus::SUCCESS, irql);
        }
    }
}

impl Filter for LowerDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let irps = try_pin_init!(Completes { irps <- SpinLock::new(Vec::new()) }? Error);
        let dpc = Shared::<Dpc<_>>::new(Dpc::new(irps), device, irql)?;
        Ok(Ok::<_, Error>(Self(dpc)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::DeviceControl {
            return irp.forward(irql);
        }
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.0.irps.with(irql, |irps, _| irps.push(irp));
        self.0.queue();
        handled
    }

    fn remove(&self, irql: &mut CallerLevel) {
        while let Some(irp) = self.0.irps.with(irql, |irps, _| irps.pop()) {
            irp.complete(NtStatus::DELETE_PENDING, irql);
        }
    }
}

/// The value that all objects own.
#[pin_data]
struct Hub {
    #[pin]
    item: Rundown<Shared<WorkItem<Again>>>,
    #[pin]
    timer: Timer<Beats>,
}

/// A timer that sets itself, and queues the work item.
struct Beats {
    item: Shared<WorkItem<Again>>,
    count: InterlockedLong,
}

impl TimerRoutine for Beats {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        if timer.count.increment() < 3 {
            timer.set(Duration::from_millis(1), irql);
        }
        WorkItem::queue(&timer.item, irql);
    }
}

/// A work item that queues itself.
struct Again {
    runs: InterlockedLong,
}

impl WorkItemRoutine for Again {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        if item.runs.increment() % 2 == 1 {
            WorkItem::queue(item, irql);
        }
    }
}

struct Callbacks;

impl QueueCallbacks for Callbacks {
    type Record = Shared<Hub>;

    /// Sets the timer of the record that is dropped next.
    fn before_completion(&self, irp: &IrpView<Shared<Hub>>, _: NtStatus, irql: &mut ObjectHeld) {
        irp.record().timer.set(Duration::from_millis(1), irql);
    }
}

/// The thread forwards the requests on the queue.
struct Forwards {
    queue: Shared<IrpQueue<Callbacks>>,
    hub: Shared<Hub>,
}

impl ThreadRoutine for Forwards {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            while let Some(irp) = thread.queue.remove_first(irql) {
                let accessed = thread.hub.item.access(irql, |item, held| {
                    thread.hub.timer.set(Duration::from_millis(1), held);
                    WorkItem::queue(item, held)
                });
                if accessed.is_none() {
                    irp.complete(Error::CANCELLED, irql);
                } else {
                    irp.forward_with_routine::<DropsHub>(irql);
                }
            }
        }
    }
}

struct DropsHub;

impl CompletionRoutine for DropsHub {
    type Record = Shared<Hub>;

    /// The timer is set, and this can be its last owner.
    fn run(irp: Returned<PendedIrp<Shared<Hub>>>, irql: &mut CallerLevel) {
        irp.record().timer.set(Duration::from_millis(1), irql);
        if let Ok(irp) = irp.into_irp() {
            let (hub, irp) = irp.take_record();
            irp.complete(NtStatus::SUCCESS, irql);
            drop(hub);
        }
    }
}

#[pin_data]
struct UpperDriver {
    queue: Shared<IrpQueue<Callbacks>>,
    #[pin]
    hub: SpinLock<Option<Shared<Hub>>>,
    #[pin]
    thread: SpinLock<Option<Thread<Forwards>>>,
}

impl Device for UpperDriver {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Callbacks, device, irql)?;
        let runs = InterlockedLong::new(0);
        let item = WorkItem::new(Ok::<_, Error>(Again { runs }), device, irql)?;
        let hub = try_pin_init!(Hub {
            item <- Rundown::new(item.clone()),
            timer <- Timer::new(Ok::<_, Error>(Beats {
                item,
                count: InterlockedLong::new(0),
            })),
        }? Error);
        let hub = Shared::<Hub>::new(hub, device, irql)?;
        let owns = Forwards {
            queue: queue.clone(),
            hub: hub.clone(),
        };
        let thread = Thread::new(Ok::<_, Error>(owns), device, irql)?;
        thread.start(irql)?;
        Ok(try_pin_init!(Self {
            queue,
            hub <- SpinLock::new(Some(hub)),
            thread <- SpinLock::new(Some(thread)),
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let Some(hub) = self.hub.with(irql, |hub, _| hub.clone()) else {
            return irp.complete(NtStatus::CANCELLED, irql);
        };
        if irp.code() == FORWARD {
            let handled = self.queue.insert(irp.with_record(hub), irql);
            self.thread.with(irql, |thread, held| {
                if let Some(thread) = thread {
                    thread.wake(held);
                }
            });
            return handled;
        }
        if irp.code() == RUN_DOWN {
            drop(hub.item.run_down(irql));
        }
        self.thread.with(irql, |thread, _| *thread = None);
        self.hub.with(irql, |place, _| {
            *place = None;
            drop(hub);
        });
        // The queue is no longer served by a thread.
        self.queue.purge(NtStatus::CANCELLED, irql);
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn ends_once(request: &Request) {
    let end = request.wait(Duration::from_secs(5)).expect("it ends");
    let possible = [0, nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&end.status), "{end:x?}");
}

fn concurrently<const CODE: u32>(kernel: &Arc<Kernel>) {
    let stack = Stack::new(load_filter::<LowerDriver>(kernel))
        .function(load::<UpperDriver>(kernel))
        .started();
    let send = |file: &File, code| file.device_control(code, &[], Vec::new());
    let file = Arc::new(
        stack
            .device
            .open_anyway(Access::ReadWrite)
            .expect("it opens"),
    );
    let first = send(&file, FORWARD);
    let file_clone = Arc::clone(&file);
    let other = kernel.actor("other", move || ends_once(&send(&file_clone, CODE)));
    let device = stack.device.clone();
    let remover = kernel.actor("remover", move || device.surprise_remove());
    ends_once(&send(&file, FORWARD));
    ends_once(&first);
    other.join();
    remover.join();
    drop(first);
    Arc::into_inner(file)
        .expect("no other thread has it")
        .close();
    stack.unload();
}

#[test]
fn the_last_owner_is_dropped_by_any_thread_while_the_device_is_removed() {
    explore::check(400, concurrently::<DROP>);
}

#[test]
fn the_value_is_run_down_while_it_is_used_and_the_device_is_removed() {
    explore::check(400, concurrently::<RUN_DOWN>);
}
