//! What a thread leaves on a list without a lock is found by the routine that takes it from there, or the routine is called again: a request
//! that is kept while its file is cleaned up or the device is removed, and work for a work item or for a thread that waits for an event.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nt::{STATUS_CANCELLED, STATUS_DELETE_PENDING};
use pinned_init::{PinInit, stack_pin_init};
use wdm::{
    Device, Error, Event, EventType, Handled, Irp, Lookaside, NewDevice, NtStatus, PassiveLevel,
    PendedIrp, SList, Shared, WorkItem, WorkItemRoutine,
};

use crate::{
    TIMES,
    kernel::{
        Kernel,
        io::{File, Loaded, at_add_device, at_passive},
    },
};

const KEEP: u32 = 0x22_2000;

/// Keeps each request on a list, which is only read while it is empty.
struct Keeps {
    memory: Lookaside<Option<PendedIrp>>,
    kept: SList<Option<PendedIrp>>,
}

impl Keeps {
    fn end(&self, status: NtStatus, irql: &mut PassiveLevel) {
        while let Some(mut item) = self.kept.pop() {
            if let Some(irp) = item.take() {
                irp.complete(status, irql);
            }
        }
    }
}

impl Device for Keeps {
    type File = ();

    fn add(_: &mut NewDevice, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        let memory = Lookaside::new(irql)?;
        let kept = SList::new();
        Ok(Ok::<_, Error>(Self { memory, kept }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.kept
            .push(self.memory.allocate(Some(irp)).expect("memory"));
        handled
    }

    fn cleanup(&self, (): &(), irql: &mut PassiveLevel) {
        self.end(NtStatus::CANCELLED, irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.end(NtStatus::DELETE_PENDING, irql);
    }
}

/// Sends a request while another thread does something else, and checks that it was completed when both have returned.
fn beside(other: impl Fn(&Loaded, &File) + Sync, status: i32) {
    let _kernel = Kernel::start();
    for _ in 0..TIMES {
        let loaded = Loaded::new::<Keeps>();
        let file = loaded.open().expect("the device opens");
        let request = thread::scope(|scope| {
            let sent = scope.spawn(|| file.ioctl(KEEP, &[], 0));
            other(&loaded, &file);
            sent.join().expect("the request is sent")
        });
        assert_eq!(request.status(), Some(status), "it is lost");
        drop(file);
        loaded.unload();
    }
}

#[test]
fn a_kept_request_is_found_when_its_file_is_cleaned_up() {
    beside(|_, file| file.cleanup(), STATUS_CANCELLED);
}

#[test]
fn a_kept_request_is_found_when_the_device_is_removed_by_surprise() {
    let remove = |loaded: &Loaded, _: &File| {
        loaded.pnp(nt::IRP_MN_SURPRISE_REMOVAL);
    };
    beside(remove, STATUS_DELETE_PENDING);
}

/// The number of values that the work item has taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Takes all values from its list.
struct Takes(SList<u32>);

impl WorkItemRoutine for Takes {
    fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
        while item.0.pop().is_some() {
            TAKEN.fetch_add(1, Relaxed);
        }
    }
}

#[test]
fn a_work_item_finds_what_was_pushed_before_it_was_queued() {
    let _kernel = Kernel::start();
    TAKEN.store(0, Relaxed);
    at_add_device(|device, irql| {
        let memory = Lookaside::new(irql).expect("memory");
        let takes = Ok::<_, Error>(Takes(SList::new()));
        let item = WorkItem::new(takes, device, irql).expect("memory");
        for number in 0..TIMES {
            item.0.push(memory.allocate(number).expect("memory"));
            WorkItem::queue(&item, irql);
        }
    });
    // The driver is unloaded, so the work item has run.
    assert_eq!(TAKEN.load(Relaxed), TIMES);
}

#[test]
fn a_thread_finds_what_was_pushed_before_the_event_was_set() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        let memory = Lookaside::new(irql).expect("memory");
        for _ in 0..TIMES {
            let list = SList::new();
            stack_pin_init!(let event = Event::new(EventType::Notification, true));
            let event: &Event = &event;
            let body = |number: u32, irql: &mut PassiveLevel| {
                if number == 1 {
                    list.push(memory.allocate(()).expect("memory"));
                    event.set(irql);
                    return;
                }
                loop {
                    event.wait(irql);
                    // Enough time for the other thread to push, and to set the event, which is set already.
                    thread::sleep(Duration::from_millis(1));
                    event.clear(irql);
                    if list.pop().is_some() {
                        break;
                    }
                }
            };
            wdm::thread::run(2, irql, &body).expect("threads");
        }
    });
}
