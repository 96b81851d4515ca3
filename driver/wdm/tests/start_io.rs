//! The interleavings of cancellation with a `StartIoQueue`'s other operations, step by step.
//!
//! Here `IoCancelIrp` exchanges the Cancel routine before it acquires the cancel spin lock, which is the worst
//! case: the results also hold if it acquires the lock first.

mod common;

use std::{cell::Cell, rc::Rc};

use common::{Controlled, Controls, Loaded, Place, place};
use nt::{IRP_MN_START_DEVICE, IRP_MN_SURPRISE_REMOVAL, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::Request;
use wdm::{
    CurrentIrp, Error, Handled, Irp, IrpView, NewDevice, NtStatus, PassiveLevel, QueueCallbacks,
    Shared, Start, StartIoOrder, StartIoQueue,
};

/// The IOCTLs of the test's device: `PEND` plus four times a key pends the request with this key; the other one
/// completes the current request and starts the next.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_3000;

/// The IOCTLs that call `refuse`, `purge` and `accept`.
const REFUSE: u32 = 0x22_3004;
const PURGE: u32 = 0x22_3008;
const ACCEPT: u32 = 0x22_300c;

const CANCELLED: Option<i32> = Some(NtStatus::CANCELLED.to_raw());
const DONE: Option<i32> = Some(STATUS_SUCCESS);
const GONE: Option<i32> = Some(STATUS_DELETE_PENDING);

thread_local! {
    /// The steps between the I/O manager's call of the dispatch routine and the insertion.
    static BEFORE_INSERTION: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();

    fn key(&self, irp: &IrpView) -> u32 {
        (irp.code() - PEND) / 4
    }
}

struct Server {
    queue: Shared<StartIoQueue<Quiet>>,
    current: Place<CurrentIrp<Quiet>>,
}

impl Server {
    fn start(&self, start: Start<Quiet>, irql: &mut PassiveLevel) {
        if let Start::Now(irp) = start {
            let before = self.current.with(irql, |current, _| current.replace(irp));
            assert!(before.is_none(), "two requests are served at a time");
        }
    }
}

impl Controls for Server {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let queue = StartIoQueue::new(StartIoOrder::Key, Quiet, device, irql)?;
        Ok(Self {
            queue,
            current: place(device, irql)?,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.code() > COMPLETE {
            match irp.code() {
                REFUSE => self.queue.refuse(NtStatus::DEVICE_NOT_READY, irql),
                PURGE => self.queue.purge(NtStatus::DEVICE_NOT_READY, irql),
                _ => self.queue.accept(irql),
            }
            return irp.complete(NtStatus::SUCCESS, irql);
        }
        if irp.code() != COMPLETE {
            if let Some(step) = BEFORE_INSERTION.take() {
                step();
            }
            let (start, pending) = self.queue.insert(irp, irql);
            self.start(start, irql);
            return pending;
        }
        let Some(current) = self.current.with(irql, |current, _| current.take()) else {
            return irp.complete(NtStatus::NOT_FOUND, irql);
        };
        let (pended, next) = current.start_next(irql);
        self.start(next, irql);
        pended.complete(NtStatus::SUCCESS, irql);
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn load() -> Loaded {
    Loaded::new::<Controlled<Server>>()
}

/// Sends a request with a key through a file, and checks that it is pending.
fn pend(driver: &Loaded, key: u32, file: u32) -> Request {
    driver.pend(PEND + 4 * key, file)
}

/// Completes the current request; returns whether there was one.
fn complete(driver: &Loaded) -> bool {
    driver.send(COMPLETE, 0).answer() == STATUS_SUCCESS
}

fn ends<const N: usize>(irps: [&Request; N]) -> [Option<i32>; N] {
    irps.map(Request::status)
}

#[test]
fn a_refusing_queue_completes_new_requests_and_keeps_the_queued_ones_until_a_purge() {
    const NOT_READY: Option<i32> = Some(nt::STATUS_DEVICE_NOT_READY);

    let driver = load();
    let [served, waiting] = [1, 2].map(|key| pend(&driver, key, 1));
    driver.send(REFUSE, 1);
    assert_eq!(driver.send(PEND, 1).status(), NOT_READY);
    assert_eq!((served.status(), waiting.status()), (None, None));
    driver.send(PURGE, 1);
    // The current request is not affected.
    assert_eq!((served.status(), waiting.status()), (None, NOT_READY));
    driver.send(COMPLETE, 1);
    assert_eq!(served.status(), DONE);
    assert_eq!(driver.send(PEND, 1).status(), NOT_READY);
    driver.send(ACCEPT, 1);
    let after = pend(&driver, 3, 1);
    driver.send(COMPLETE, 1);
    assert_eq!((after.status(), driver.holds()), (DONE, 0));
}

#[test]
fn requests_are_served_one_at_a_time_in_the_order_of_their_keys() {
    let driver = load();
    let first = pend(&driver, 15, 1);
    let [high, low, same, again, lowest] = [30, 10, 20, 20, 5].map(|key| pend(&driver, key, 1));
    // The next key that is not smaller than the last one, or else the smallest key.
    for served in [&first, &same, &again, &high, &lowest, &low] {
        assert_eq!(served.status(), None);
        assert!(complete(&driver));
        assert_eq!(served.status(), DONE);
    }
    assert!(!complete(&driver), "no request is served");
    let idle = pend(&driver, 1, 1);
    assert!(
        complete(&driver),
        "an idle device starts a request immediately"
    );
    assert_eq!(idle.status(), DONE);
    assert_eq!(driver.holds(), 0);
}

#[test]
fn a_queued_request_is_cancelled_and_the_others_are_not() {
    let driver = load();
    let [served, before, this, after] = [1, 2, 3, 4].map(|key| pend(&driver, key, 1));
    assert!(this.cancel_irp());
    let statuses = ends([&served, &before, &this, &after]);
    assert_eq!(statuses, [None, None, CANCELLED, None]);
    assert!(!this.cancel_irp(), "there is no Cancel routine");
    for _ in 0..3 {
        assert!(complete(&driver));
    }
    assert_eq!(ends([&served, &before, &after]), [DONE; 3]);
    assert_eq!(driver.holds(), 0);
}

#[test]
fn a_request_that_is_served_cannot_be_cancelled() {
    let driver = load();
    let [served, waits] = [1, 2].map(|key| pend(&driver, key, 1));
    assert!(!served.cancel_irp(), "it has no Cancel routine");
    assert!(complete(&driver));
    assert_eq!(ends([&served, &waits]), [DONE, None]);
    assert!(!waits.cancel_irp(), "it is served now");
    assert!(complete(&driver));
    assert_eq!(waits.status(), DONE);
}

#[test]
fn a_request_that_was_cancelled_before_its_arrival_is_not_served() {
    let driver = Rc::new(load());
    driver.send(COMPLETE, 2);
    let cancel_next = || {
        let user = Rc::clone(&driver);
        BEFORE_INSERTION.set(Some(Box::new(move || user.cancel_all(2))));
    };
    cancel_next();
    let idle = pend(&driver, 0, 2);
    assert_eq!(idle.status(), CANCELLED);
    let served = pend(&driver, 1, 1);
    cancel_next();
    let queued = pend(&driver, 0, 2);
    assert_eq!(queued.status(), CANCELLED);
    assert!(complete(&driver));
    assert_eq!(served.status(), DONE);
    assert!(!complete(&driver), "the device is idle");
    assert_eq!(driver.holds(), 0);
}

#[test]
fn a_request_whose_cancel_routine_was_taken_is_left_to_it_and_the_next_one_is_served() {
    let driver = load();
    let [served, this, next] = [1, 2, 3].map(|key| pend(&driver, key, 1));
    let cancelling = this.begin_cancel();
    assert!(complete(&driver));
    assert_eq!(ends([&served, &this, &next]), [DONE, None, None]);
    assert!(complete(&driver));
    assert_eq!(ends([&this, &next]), [None, DONE]);
    assert!(cancelling.finish());
    assert_eq!(this.status(), CANCELLED);
    assert!(!complete(&driver));
    assert_eq!(driver.holds(), 0);
}

#[test]
fn cleanup_cancels_the_waiting_requests_of_its_file_and_keeps_the_order_of_the_others() {
    let driver = load();
    let served = pend(&driver, 2, 1);
    let [low, high] = [1, 3].map(|key| pend(&driver, key, 2));
    let [first_of_file, second_of_file] = [1, 3].map(|key| pend(&driver, key, 1));
    let taken = pend(&driver, 2, 1);
    let cancelling = taken.begin_cancel();
    driver.close(1);
    assert_eq!(ends([&first_of_file, &second_of_file]), [CANCELLED; 2]);
    assert_eq!(ends([&served, &low, &high, &taken]), [None; 4]);
    assert!(cancelling.finish());
    assert_eq!(taken.status(), CANCELLED);
    // The device is still busy, so a new request is queued.
    let late = pend(&driver, 4, 2);
    for done in [&served, &high, &late, &low] {
        assert!(complete(&driver));
        assert_eq!(done.status(), DONE);
    }
    assert!(!complete(&driver));
    assert_eq!(driver.holds(), 0);
}

#[test]
fn cleanup_of_an_idle_device_leaves_it_idle() {
    let driver = load();
    let served = pend(&driver, 1, 1);
    assert!(complete(&driver));
    assert_eq!(served.status(), DONE);
    driver.close(1);
    let request = pend(&driver, 1, 1);
    assert!(complete(&driver), "it was started");
    assert_eq!(request.status(), DONE);
}

#[test]
fn a_removal_completes_waiting_requests_and_waits_for_the_current_one() {
    let driver = load();
    assert_eq!(driver.device.pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
    let [served, waits] = [1, 2].map(|key| pend(&driver, key, 1));
    assert_eq!(driver.device.pnp(IRP_MN_SURPRISE_REMOVAL), STATUS_SUCCESS);
    assert_eq!(ends([&served, &waits]), [None, GONE]);
    assert_eq!(driver.holds(), 1);
    assert_eq!(driver.send(PEND, 1).answer(), STATUS_DELETE_PENDING);
}

#[test]
fn a_request_that_arrives_after_its_handle_was_closed_is_neither_served_nor_queued() {
    let driver = Rc::new(load());
    driver.send(COMPLETE, 1);
    let user = Rc::clone(&driver);
    BEFORE_INSERTION.set(Some(Box::new(move || user.clean_up(1))));
    let late = pend(&driver, 1, 1);
    assert_eq!((late.status(), driver.holds()), (CANCELLED, 0));
    assert!(!complete(&driver), "nothing is served");
}

/// Inserting by key searches the queue with the cancel spin lock held, so the queue has a limit.
#[test]
fn a_queue_by_key_has_a_limit() {
    const FULL: Option<i32> = Some(NtStatus::INSUFFICIENT_RESOURCES.to_raw());

    let driver = load();
    let served = pend(&driver, 0, 1);
    let waiting: Vec<_> = (0..1_024).map(|_| pend(&driver, 5, 1)).collect();
    assert_eq!(driver.send(PEND, 1).status(), FULL);
    // Each way to leave the queue makes room: a cancellation, and the next service.
    waiting[7].cancel();
    let again = pend(&driver, 5, 1);
    assert_eq!(driver.send(PEND, 1).status(), FULL);
    assert!(complete(&driver));
    let last = pend(&driver, 5, 2);
    assert_eq!(driver.send(PEND, 1).status(), FULL);
    let statuses = ends([&served, &waiting[7], &again, &last]);
    assert_eq!(statuses, [DONE, CANCELLED, None, None]);
    driver.close(2);
    pend(&driver, 5, 1);
    driver.send(PURGE, 1);
    driver.send(ACCEPT, 1);
    let waiting: Vec<_> = (0..1_024).map(|_| pend(&driver, 5, 1)).collect();
    assert_eq!(driver.send(PEND, 1).status(), FULL);
    driver.close(1);
    assert!(waiting.iter().all(|irp| irp.status() == CANCELLED));
    complete(&driver);
    driver.unload();
}

/// A lower driver may need the field of such a request that the queue would overwrite.
#[test]
fn a_request_whose_parameters_the_queue_would_overwrite_is_not_queued() {
    let driver = load();
    let neither = driver.send(PEND + 3, 1);
    assert_eq!(
        neither.status(),
        Some(NtStatus::INVALID_DEVICE_REQUEST.to_raw())
    );
    driver.unload();
}
