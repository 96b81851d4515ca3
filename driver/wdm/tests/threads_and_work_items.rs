//! Mutexes, threads of a device, work items, the importance of DPCs, and timers that are cancelled and waited for.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Controlled, Controls, Loaded, with_file};
use ntmodel::explore;
use wdm::{
    Dpc, DpcRoutine, Error, Handled, Importance, InterlockedLong, Irp, Mutex, NewDevice, NtStatus,
    PassiveLevel, Shared, SpinLock, Thread, ThreadRoutine, Timer, TimerRoutine, WorkItem,
    WorkItemRoutine,
    irql::{self, DispatchLevel},
};

const WAKE: u32 = 0x22_2000;
const QUEUE: u32 = 0x22_2004;
const ADD: u32 = 0x22_2008;
const ORDER: u32 = 0x22_200c;
const SET: u32 = 0x22_2010;
const CANCEL: u32 = 0x22_2014;
const READ: u32 = 0x22_2018;

type Counts = Shared<Mutex<[u32; 2]>>;

/// How often a count was increased, by every device.
static ADDED: SpinLock<u64> = SpinLock::new_static(0);

struct Worker {
    woken: Counts,
}

impl ThreadRoutine for Worker {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            thread.woken.with(irql, |counts, _| counts[0] += 1);
        }
    }
}

struct Item {
    runs: Counts,
}

impl WorkItemRoutine for Item {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        item.runs.with(irql, |counts, _| counts[1] += 1);
    }
}

/// Appends its number to a text that shows the order in which these DPCs run.
struct Ordered {
    number: u32,
    order: Shared<SpinLock<u32>>,
}

impl DpcRoutine for Ordered {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.order
            .with(irql, |order, _| *order = *order * 10 + dpc.number);
    }
}

/// Sets its timer again each time that it runs.
struct Again(InterlockedLong);

impl TimerRoutine for Again {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.0.increment();
        timer.set(Duration::ZERO, irql);
    }
}

struct All {
    counts: Counts,
    thread: Thread<Worker>,
    item: Shared<WorkItem<Item>>,
    order: Shared<SpinLock<u32>>,
    dpcs: [Shared<Dpc<Ordered>>; 3],
    timer: Shared<Timer<Again>>,
}

impl Controls for All {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let counts: Counts = Shared::new(Mutex::new([0; 2]), device, irql)?;
        let worker = Worker {
            woken: counts.clone(),
        };
        let thread = Thread::new(Ok::<_, Error>(worker), device, irql)?;
        thread.start(irql)?;
        assert_eq!(thread.start(irql), Err(Error::INVALID_DEVICE_STATE));
        let item = Item {
            runs: counts.clone(),
        };
        let item = WorkItem::new(Ok::<_, Error>(item), device, irql)?;
        let order = Shared::new(SpinLock::new(0), device, irql)?;
        let mut dpc = |number, importance| {
            let context = Ordered {
                number,
                order: order.clone(),
            };
            let dpc = Dpc::with_importance(Ok::<_, Error>(context), importance);
            Shared::new(dpc, device, irql)
        };
        let dpcs = [
            dpc(1, Importance::Medium)?,
            dpc(2, Importance::Low)?,
            dpc(3, Importance::High)?,
        ];
        let again = Again(InterlockedLong::new(0));
        let timer = Shared::new(Timer::new(Ok::<_, Error>(again)), device, irql)?;
        Ok(Self {
            counts,
            thread,
            item,
            order,
            dpcs,
            timer,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let status = |holds| {
            if holds {
                NtStatus::SUCCESS
            } else {
                Error::UNSUCCESSFUL.into()
            }
        };
        match irp.code() {
            WAKE => self.thread.wake(irql),
            QUEUE => {
                let queued = WorkItem::queue(&self.item, irql);
                return irp.complete(status(queued), irql);
            }
            ADD => {
                let nested = self.counts.try_with(irql, |counts, irql| {
                    counts[0] += 1;
                    // A spin lock may be acquired at APC_LEVEL, also one that is a static.
                    ADDED.with(irql, |added, _| *added += 1);
                    self.order.with(irql, |order, _| *order == 0)
                });
                return irp.complete(status(nested.is_some()), irql);
            }
            ORDER => {
                irql::raise_to_dispatch(irql, |_| {
                    for dpc in &self.dpcs {
                        dpc.queue();
                    }
                });
                let order = self.order.with(irql, |order, _| *order);
                return irp.complete(status(order == 312), irql);
            }
            SET => {
                self.timer.set(Duration::ZERO, irql);
            }
            CANCEL => {
                self.timer.cancel_and_wait(irql);
                let runs = self.timer.0.read();
                let is_still = !self.timer.cancel(irql) && self.timer.0.read() == runs;
                return irp.complete(status(is_still), irql);
            }
            _ => {
                let sum = self.counts.with(irql, |counts, _| counts[0] + counts[1]);
                return irp.complete_with(&sum, irql);
            }
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn status(file: &ntmodel::File, code: u32) -> i32 {
    let request = file.device_control(code, &[], vec![0; 4]);
    request.status().expect("the request ends without waiting")
}

#[test]
fn high_importance_runs_first() {
    let loaded = Loaded::new::<Controlled<All>>();
    assert_eq!(loaded.send(ORDER, 1).status(), Some(0));
    loaded.close(1);
    loaded.device.remove().expect("no file is open");
}

#[test]
fn thread_and_work_item_end_with_their_device() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            let file_clone = Arc::clone(file);
            let other = kernel.actor("other", move || status(&file_clone, QUEUE));
            status(file, WAKE);
            status(file, QUEUE);
            other.join();
        });
    });
}

#[test]
fn one_thread_at_a_time_accesses_the_value_of_a_mutex() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            let file_clone = Arc::clone(file);
            let other = kernel.actor("other", move || u32::from(status(&file_clone, ADD) == 0));
            let own = u32::from(status(file, ADD) == 0);
            let added = own + other.join();
            let read = file.device_control(READ, &[], vec![0; 4]);
            let end = common::end(&read);
            kernel.verify(added >= 1 && end.output == added.to_le_bytes(), || {
                format!("{added} were added: {end:?}")
            });
        });
    });
}

#[test]
fn cancelled_timer_does_not_expire() {
    explore::check(2_000, |kernel| {
        with_file::<Controlled<All>>(kernel, |_, file| {
            status(file, SET);
            let cancelled = status(file, CANCEL);
            kernel.verify(cancelled == 0, || "the timer was not cancelled".into());
        });
    });
}
