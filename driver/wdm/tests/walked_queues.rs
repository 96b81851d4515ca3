//! Threads that search an `IrpQueue` while others remove its first requests: they find the requests that stay on the queue.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use common::{Controlled, Controls, Quiet, start, status};
use ntmodel::{
    Config, File, Kernel,
    explore::{self, Search},
};
use wdm::{
    Error, Handled, Irp, IrpQueue, NewDevice, NtStatus, PassiveLevel, Shared,
    irql::raise_to_dispatch,
};

const WAIT: u32 = 0x22_2000;
const LAST: u32 = 0x22_2004;
/// Finds `LAST`.
const FIND: u32 = 0x22_2008;
/// Completes the first requests, each time removes the next one too, and puts it back.
const TAKE: u32 = 0x22_200c;
/// Completes all requests with `STATUS_CANCELLED`, at `DISPATCH_LEVEL`.
const PURGE: u32 = 0x22_2010;
/// Examines all requests, slowly, and finds none.
const SEARCH: u32 = 0x22_2014;
/// How many `TAKE` completes: as many as are examined under one acquisition of the lock.
const TAKEN: u32 = 64;

/// Whether a thread has begun to examine requests for `SEARCH`.
static SEARCHES: AtomicBool = AtomicBool::new(false);

struct Walked(Shared<IrpQueue<Quiet>>);

impl Controls for Walked {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        Ok(Self(IrpQueue::new(Quiet, device, irql)?))
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        match irp.code() {
            FIND => {
                let found = self.0.remove_matching(irql, |irp| irp.code() == LAST);
                let status = found.map_or(NtStatus::NOT_FOUND, |found| {
                    found.complete(NtStatus::SUCCESS, irql);
                    NtStatus::SUCCESS
                });
                irp.complete(status, irql)
            }
            TAKE => {
                for _ in 0..TAKEN {
                    if let Some(first) = self.0.remove_first(irql) {
                        first.complete(NtStatus::SUCCESS, irql);
                    }
                    if let Some(next) = self.0.remove_first(irql) {
                        self.0.put_back(next, irql);
                    }
                }
                irp.complete(NtStatus::SUCCESS, irql)
            }
            SEARCH => {
                let found = self.0.remove_matching(irql, |_| {
                    sleep(Duration::from_micros(10));
                    SEARCHES.store(true, Ordering::Relaxed);
                    false
                });
                assert!(found.is_none());
                irp.complete(NtStatus::SUCCESS, irql)
            }
            PURGE => {
                raise_to_dispatch(irql, |irql| self.0.purge(NtStatus::CANCELLED, irql));
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => self.0.insert(irp, irql),
        }
    }
}

fn send(file: &File, code: u32) -> i32 {
    status(&file.device_control(code, &[], Vec::new()))
}

/// More requests than are examined under one acquisition of the lock are before the last one.
fn searched(kernel: &Arc<Kernel>) {
    let stack = start::<Controlled<Walked>>(kernel);
    let file = Arc::new(stack.open());
    let pend = |code| file.device_control(code, &[], Vec::new());
    let waiting: Vec<_> = (0..TAKEN + 2).map(|_| pend(WAIT)).collect();
    let last = pend(LAST);
    let file_clone = Arc::clone(&file);
    let taker = kernel.actor("taker", move || send(&file_clone, TAKE));
    assert_eq!(send(&file, FIND), 0, "a request is not found");
    assert_eq!(taker.join(), 0);
    assert_eq!(last.status(), Some(0));
    let left = waiting.iter().filter(|request| request.status().is_none());
    assert_eq!(left.count(), 2);
    file.cancel_all();
    drop((waiting, file));
    stack.unload();
}

#[test]
fn request_that_stays_is_found_while_the_first_ones_are_removed() {
    // The searcher has to wait once, at the right place.
    let search = Search::DepthFirst {
        most: 10_000,
        preemptions: Some(1),
    };
    match explore::explore(search, searched) {
        Ok(explored) => assert_eq!(explored.complete_up_to, Some(1), "{explored:?}"),
        Err(found) => panic!("{found}"),
    }
}

/// A purge at `DISPATCH_LEVEL` keeps the only processor, so a thread that searches the queue and is between two holds of the lock cannot
/// continue before the purge has ended.
#[test]
fn queue_is_purged_on_the_processor_of_a_thread_that_searches_it() {
    for _ in 0..20 {
        let kernel = Kernel::new(Config {
            processors: 1,
            ..Config::default()
        });
        let stack = start::<Controlled<Walked>>(&kernel);
        let file = Arc::new(stack.open());
        let waiting: Vec<_> = (0..20 * TAKEN)
            .map(|_| file.device_control(WAIT, &[], Vec::new()))
            .collect();
        let file_clone = Arc::clone(&file);
        SEARCHES.store(false, Ordering::Relaxed);
        let searcher = kernel.actor("searcher", move || send(&file_clone, SEARCH));
        while !SEARCHES.load(Ordering::Relaxed) {
            sleep(Duration::from_micros(100));
        }
        assert_eq!(send(&file, PURGE), 0);
        assert_eq!(searcher.join(), 0);
        let purged = |status| status == Some(NtStatus::CANCELLED.to_raw());
        assert!(waiting.iter().all(|request| purged(request.status())));
        drop((waiting, file));
        stack.unload();
    }
}
