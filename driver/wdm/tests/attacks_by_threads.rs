//! Attacks with threads and work items of a device: they drop themselves and each other, and end while others need them.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Controlled, Controls, Place, Quiet, place};
use ntmodel::{Kernel, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    DeviceObject, Dpc, DpcRoutine, Error, Event, EventType, Handled, Irp, IrpQueue, NewDevice,
    NtStatus, PassiveLevel, Rundown, Shared, Thread, ThreadRoutine, WorkItem, WorkItemRoutine,
    irql::DispatchLevel,
};

/// The operations of the device, each started by a request.
const BY_ITSELF: u32 = 0x22_2000;
const BY_EACH_OTHER: u32 = 0x22_2004;
const UNDER_A_LOCK: u32 = 0x22_2008;
const NOT_STARTED: u32 = 0x22_200c;
const AGAIN: u32 = 0x22_2010;
const BY_ITS_OWN_ROUTINE: u32 = 0x22_2014;
const IN_A_WORK_ITEM: u32 = 0x22_2018;
const RUN_DOWN_TWICE: u32 = 0x22_201c;
const WAITS: u32 = 0x22_2020;
const HALFWAY: u32 = 0x22_2028;
/// Pends the request; a thread removes it from the queue and ends.
const PEND: u32 = 0x22_2024;

fn take<T>(place: &Place<T>, irql: &mut PassiveLevel) -> Option<T> {
    place.with(irql, |value, _| value.take())
}

/// A thread that drops the thread in a slot each time it is woken, until it is requested to stop.
struct DropsThreads(Place<Thread<DropsThreads>>);

impl ThreadRoutine for DropsThreads {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            drop(take(&thread.0, irql));
        }
        drop(take(&thread.0, irql));
    }
}

fn dropper(
    slot: &Place<Thread<DropsThreads>>,
    device: &DeviceObject,
    irql: &mut PassiveLevel,
) -> Result<Thread<DropsThreads>, Error> {
    let thread = Thread::new(Ok::<_, Error>(DropsThreads(slot.clone())), device, irql)?;
    thread.start(irql)?;
    Ok(thread)
}

/// Puts a thread in its place and wakes it. The thread then drops the value in its place.
fn put(place: &Place<Thread<DropsThreads>>, thread: Thread<DropsThreads>, irql: &mut PassiveLevel) {
    place.with(irql, |place, irql| {
        thread.wake(irql);
        *place = Some(thread);
    });
}

/// A work item that drops an owner of itself, which can be the last one except the running one, and queues itself again.
struct DropsOwnItem {
    own: Place<Shared<WorkItem<DropsOwnItem>>>,
    slot: Place<Thread<DropsThreads>>,
}

impl WorkItemRoutine for DropsOwnItem {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        drop(take(&item.slot, irql));
        if take(&item.own, irql).is_some() {
            WorkItem::queue(item, irql);
        }
    }
}

/// A thread that runs a value down while another thread runs the same value down.
struct RunsDown(Shared<Rundown<Vec<u32>>>);

impl ThreadRoutine for RunsDown {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        thread.0.access(irql, |value, _| assert_eq!(value[0], 7));
        drop(thread.0.run_down(irql));
    }
}

/// A thread that waits with a timeout for an event.
struct Waits(Shared<Event>);

impl ThreadRoutine for Waits {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while !thread.is_stopping() {
            thread.0.wait_for(Duration::from_millis(1), irql);
        }
    }
}

/// A DPC that wakes a thread.
struct Wakes(Shared<Event>);

impl DpcRoutine for Wakes {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.0.set(irql);
    }
}

/// A value whose initialiser fails when its thread runs and its DPC is queued.
#[pin_data]
struct Halfway {
    thread: Thread<Waits>,
    #[pin]
    dpc: Dpc<Wakes>,
    #[pin]
    fails: Dpc<Wakes>,
}

impl Halfway {
    fn new(thread: Thread<Waits>, event: Shared<Event>) -> impl PinInit<Self, Error> {
        let dpc = Dpc::new(Ok::<_, Error>(Wakes(event))).pin_chain(|dpc| {
            dpc.queue();
            Ok(())
        });
        try_pin_init!(Self {
            thread,
            dpc <- dpc,
            fails <- Dpc::new(Err(Error::CANCELLED)),
        }? Error)
    }
}

/// A thread that serves a queue, and ends with the request that it serves.
struct Serves(Shared<IrpQueue<Quiet>>);

impl ThreadRoutine for Serves {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            if thread.0.remove_first(irql).is_some() {
                return;
            }
        }
    }
}

struct Attacked {
    object: DeviceObject,
    places: [Place<Thread<DropsThreads>>; 2],
    item: Place<Shared<WorkItem<DropsOwnItem>>>,
    queue: Shared<IrpQueue<Quiet>>,
    serves: Thread<Serves>,
    run_down: Place<Thread<RunsDown>>,
    waits: Place<Thread<Waits>>,
}

impl Attacked {
    fn run(&self, code: u32, irql: &mut PassiveLevel) -> Result<(), Error> {
        let [first, second] = &self.places;
        let device = &self.object;
        match code {
            BY_ITSELF => {
                let thread = dropper(first, device, irql)?;
                put(first, thread, irql);
            }
            BY_EACH_OTHER => {
                let threads = [
                    dropper(second, device, irql)?,
                    dropper(first, device, irql)?,
                ];
                for (place, thread) in self.places.iter().zip(threads) {
                    put(place, thread, irql);
                }
            }
            UNDER_A_LOCK => {
                let thread = dropper(second, device, irql)?;
                first.with(irql, |_, _| drop(thread));
            }
            NOT_STARTED => {
                let thread =
                    Thread::new(Ok::<_, Error>(DropsThreads(first.clone())), device, irql)?;
                first.with(irql, |place, _| *place = Some(thread));
                first.with(irql, |place, _| *place = None);
            }
            AGAIN => {
                let thread = dropper(first, device, irql)?;
                assert_eq!(thread.start(irql), Err(Error::INVALID_DEVICE_STATE));
                thread.stop(irql);
            }
            BY_ITS_OWN_ROUTINE | IN_A_WORK_ITEM => {
                if code == IN_A_WORK_ITEM {
                    let thread = dropper(first, device, irql)?;
                    put(first, thread, irql);
                }
                let context = DropsOwnItem {
                    own: self.item.clone(),
                    slot: first.clone(),
                };
                let item = WorkItem::new(Ok::<_, Error>(context), device, irql)?;
                self.item.with(irql, |place, _| *place = Some(item.clone()));
                WorkItem::queue(&item, irql);
            }
            RUN_DOWN_TWICE => {
                let value = Shared::new(Rundown::new(vec![7]), device, irql)?;
                let context = Ok::<_, Error>(RunsDown(value.clone()));
                let thread = Thread::new(context, device, irql)?;
                thread.start(irql)?;
                self.run_down.with(irql, |place, _| *place = Some(thread));
                drop(value.run_down(irql));
            }
            _ => {
                let event = Event::new(EventType::Synchronization, false);
                let event = Shared::new(event, device, irql)?;
                let thread = Thread::new(Ok::<_, Error>(Waits(event.clone())), device, irql)?;
                thread.start(irql)?;
                if code == HALFWAY {
                    let halfway = Shared::new(Halfway::new(thread, event), device, irql);
                    assert_eq!(halfway.err(), Some(Error::CANCELLED));
                    return Ok(());
                }
                self.waits.with(irql, |place, _| *place = Some(thread));
            }
        }
        Ok(())
    }
}

impl Controls for Attacked {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let serves = Thread::new(Ok::<_, Error>(Serves(queue.clone())), device, irql)?;
        serves.start(irql)?;
        Ok(Self {
            object: (**device).clone(),
            places: [place(device, irql)?, place(device, irql)?],
            item: place(device, irql)?,
            queue,
            serves,
            run_down: place(device, irql)?,
            waits: place(device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.code() == PEND {
            let handled = self.queue.insert(irp, irql);
            self.serves.wake(irql);
            return handled;
        }
        let status = match self.run(irp.code(), irql) {
            Ok(()) => NtStatus::SUCCESS,
            Err(error) => error.into(),
        };
        irp.complete(status, irql)
    }
}

fn run<const CODE: u32>(kernel: &Arc<Kernel>) {
    common::with_file::<Controlled<Attacked>>(kernel, |_, file| {
        let sent = file.device_control(CODE, &[], Vec::new());
        assert_eq!(sent.status(), Some(0));
    });
}

#[test]
fn a_thread_drops_itself() {
    explore::check(300, run::<BY_ITSELF>);
}

#[test]
fn threads_drop_each_other() {
    explore::check(300, run::<BY_EACH_OTHER>);
}

#[test]
fn a_thread_is_dropped_under_a_lock() {
    explore::check(300, run::<UNDER_A_LOCK>);
}

#[test]
fn a_thread_is_dropped_that_was_never_started() {
    explore::check(300, run::<NOT_STARTED>);
}

#[test]
fn a_thread_is_started_twice_and_stopped_twice() {
    explore::check(300, run::<AGAIN>);
}

#[test]
fn a_work_item_drops_itself_and_is_queued_again() {
    explore::check(300, run::<BY_ITS_OWN_ROUTINE>);
}

#[test]
fn a_work_item_drops_a_thread_that_drops_itself() {
    explore::check(300, run::<IN_A_WORK_ITEM>);
}

#[test]
fn two_threads_run_a_value_down() {
    explore::check(300, run::<RUN_DOWN_TWICE>);
}

#[test]
fn a_thread_waits_while_its_device_is_removed() {
    explore::check(300, run::<WAITS>);
}

#[test]
fn an_initialiser_fails_while_its_parts_run() {
    explore::check(300, run::<HALFWAY>);
}

#[test]
fn a_thread_ends_with_the_request_that_it_serves() {
    explore::check(300, |kernel| {
        common::with_file::<Controlled<Attacked>>(kernel, |device, file| {
            let device_clone = device.clone();
            let remover = kernel.actor("remover", move || device_clone.surprise_remove());
            let sent = file.device_control(PEND, &[], Vec::new());
            remover.join();
            let end = common::end(&sent);
            let possible = [nt::STATUS_INTERNAL_ERROR, nt::STATUS_DELETE_PENDING];
            assert!(possible.contains(&end.status), "{end:x?}");
        });
    });
}
