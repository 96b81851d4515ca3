//! The interleavings of cancellation with a queue's other operations and with the device's removal, step by step.
//!
//! Under Wine one thread runs a driver's dispatch routines and its Cancel routines, so the steps of `IoCancelIrp`
//! never run between the steps of an insertion or a removal. Here they do, in a fixed order; the explorations of
//! the harness try every order.

mod common;

use std::{cell::Cell, rc::Rc};

use common::{Controlled, Controls, Loaded, Quiet};
use nt::{
    IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_START_DEVICE, IRP_MN_SURPRISE_REMOVAL, STATUS_DELETE_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Access, Request};
use wdm::{Error, Handled, Irp, IrpQueue, NewDevice, NtStatus, PassiveLevel, Shared};

/// The IOCTLs of the test's device: pend the request, or complete the oldest pending one; refuse, purge or accept.
const PEND: u32 = 0x22_2000;
const COMPLETE: u32 = 0x22_2004;
const REFUSE: u32 = 0x22_2008;
const PURGE: u32 = 0x22_200c;
const ACCEPT: u32 = 0x22_2010;

const CANCELLED: Option<i32> = Some(NtStatus::CANCELLED.to_raw());
const GONE: Option<i32> = Some(STATUS_DELETE_PENDING);

thread_local! {
    /// The steps between the I/O manager's call of the dispatch routine and the insertion.
    static BEFORE_INSERTION: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

struct Waiters {
    queue: Shared<IrpQueue<Quiet>>,
}

impl Controls for Waiters {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let queue = IrpQueue::new(Quiet, device, irql)?;
        Ok(Self { queue })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.code() == PEND {
            if let Some(step) = BEFORE_INSERTION.take() {
                step();
            }
            return self.queue.insert(irp, irql);
        }
        let status = match irp.code() {
            REFUSE => {
                self.queue.refuse(NtStatus::DEVICE_NOT_READY, irql);
                NtStatus::SUCCESS
            }
            PURGE => {
                self.queue.purge(NtStatus::DEVICE_NOT_READY, irql);
                NtStatus::SUCCESS
            }
            ACCEPT => {
                self.queue.accept(irql);
                NtStatus::SUCCESS
            }
            _ => match self.queue.remove_first(irql) {
                Some(pended) => {
                    pended.complete(NtStatus::SUCCESS, irql);
                    NtStatus::SUCCESS
                }
                None => NtStatus::NOT_FOUND,
            },
        };
        irp.complete(status, irql)
    }
}

fn load() -> Loaded {
    Loaded::new::<Controlled<Waiters>>()
}

/// Sends a request through a file, and checks that it is pending.
fn pend(driver: &Loaded, file: u32) -> Request {
    driver.pend(PEND, file)
}

/// Completes the oldest request; returns whether there was one.
fn complete(driver: &Loaded) -> bool {
    driver.send(COMPLETE, 0).answer() == STATUS_SUCCESS
}

#[test]
fn a_request_pends_until_it_is_completed_or_cancelled() {
    let driver = load();
    let (a, b) = (pend(&driver, 1), pend(&driver, 1));
    assert_eq!((a.status(), b.status(), driver.holds()), (None, None, 2));
    assert!(b.cancel_irp());
    let statuses = (a.status(), b.status(), driver.holds());
    assert_eq!(statuses, (None, CANCELLED, 1));
    assert!(complete(&driver));
    assert_eq!((a.status(), driver.holds()), (Some(STATUS_SUCCESS), 0));
    assert!(!a.cancel_irp() && !complete(&driver));
}

#[test]
fn a_refusing_queue_completes_new_requests_and_keeps_the_queued_ones_until_a_purge() {
    const NOT_READY: Option<i32> = Some(nt::STATUS_DEVICE_NOT_READY);

    let driver = load();
    let before = pend(&driver, 1);
    driver.send(REFUSE, 1);
    let refused = driver.send(PEND, 1);
    let statuses = (before.status(), refused.status(), driver.holds());
    assert_eq!(statuses, (None, NOT_READY, 1));
    driver.send(PURGE, 1);
    assert_eq!((before.status(), driver.holds()), (NOT_READY, 0));
    assert_eq!(driver.send(PEND, 1).status(), NOT_READY);
    driver.send(ACCEPT, 1);
    let after = pend(&driver, 1);
    assert_eq!(after.status(), None);
    assert!(complete(&driver));
    assert_eq!(after.status(), Some(STATUS_SUCCESS));
}

#[test]
fn a_request_that_was_cancelled_before_it_is_queued_is_completed_immediately() {
    let driver = Rc::new(load());
    assert!(!complete(&driver));
    driver.send(COMPLETE, 1);
    // There is no Cancel routine yet, so IoCancelIrp only sets Irp->Cancel.
    let user = Rc::clone(&driver);
    BEFORE_INSERTION.set(Some(Box::new(move || user.cancel_all(1))));
    let irp = pend(&driver, 1);
    assert_eq!((irp.status(), driver.holds()), (CANCELLED, 0));
    assert!(!complete(&driver));
}

#[test]
fn a_remover_skips_a_request_whose_cancel_routine_was_taken() {
    let driver = load();
    let (a, b) = (pend(&driver, 1), pend(&driver, 1));
    let cancelling = a.begin_cancel();
    assert!(complete(&driver));
    assert_eq!((a.status(), b.status()), (None, Some(STATUS_SUCCESS)));
    // The request has left the list, so the Cancel routine does not unlink it.
    assert!(cancelling.finish());
    assert_eq!((a.status(), driver.holds()), (CANCELLED, 0));
    assert!(!complete(&driver));
}

#[test]
fn requests_around_one_that_is_being_cancelled_stay_in_order() {
    let driver = load();
    let (a, b, c) = (pend(&driver, 1), pend(&driver, 1), pend(&driver, 1));
    let cancelling = b.begin_cancel();
    assert!(cancelling.finish());
    assert!(complete(&driver));
    let statuses = (a.status(), b.status(), c.status());
    assert_eq!(statuses, (Some(STATUS_SUCCESS), CANCELLED, None));
    assert!(complete(&driver));
    assert_eq!((c.status(), driver.holds()), (Some(STATUS_SUCCESS), 0));
}

#[test]
fn cleanup_cancels_the_requests_of_its_file_except_those_that_the_cancel_routine_owns() {
    let driver = load();
    let (a, b, other) = (pend(&driver, 1), pend(&driver, 1), pend(&driver, 2));
    let cancelling = a.begin_cancel();
    driver.close(1);
    let statuses = (a.status(), b.status(), other.status());
    assert_eq!(statuses, (None, CANCELLED, None));
    assert!(cancelling.finish());
    assert_eq!((a.status(), driver.holds()), (CANCELLED, 1));
    assert!(complete(&driver));
    assert_eq!((other.status(), driver.holds()), (Some(STATUS_SUCCESS), 0));
}

#[test]
fn a_device_that_agreed_to_its_removal_fails_opens_and_serves_other_requests() {
    let driver = load();
    assert_eq!(driver.device.pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
    assert!(driver.device.is_interface_enabled());
    let before = pend(&driver, 1);
    assert_eq!(
        driver.device.pnp(IRP_MN_QUERY_REMOVE_DEVICE),
        STATUS_SUCCESS
    );
    let opened = driver.device.open_anyway(Access::Read);
    assert_eq!(opened.err(), Some(STATUS_DELETE_PENDING));
    let during = pend(&driver, 1);
    let statuses = (before.status(), during.status(), driver.holds());
    assert_eq!(statuses, (None, None, 2));
    assert_eq!(
        driver.device.pnp(IRP_MN_CANCEL_REMOVE_DEVICE),
        STATUS_SUCCESS
    );
    let after = pend(&driver, 2);
    for request in [&before, &during, &after] {
        assert!(complete(&driver));
        assert_eq!(request.status(), Some(STATUS_SUCCESS));
    }
    assert_eq!(driver.holds(), 0);
    assert!(driver.device.is_interface_enabled());
}

#[test]
fn a_removed_device_has_ended_every_request_and_refuses_all_but_close() {
    let driver = load();
    assert_eq!(driver.device.pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
    let pending = [pend(&driver, 1), pend(&driver, 2)];
    let status = driver.device.pnp(IRP_MN_QUERY_REMOVE_DEVICE);
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!(driver.device.pnp(IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
    assert_eq!(pending.each_ref().map(Request::status), [GONE; 2]);
    let after = (
        driver.device.is_interface_enabled(),
        driver.kernel.device_objects(),
        driver.holds(),
    );
    assert_eq!(after, (false, 0, 0));
    assert_eq!(driver.send(PEND, 1).answer(), STATUS_DELETE_PENDING);
    let opened = driver.device.open_anyway(Access::Read);
    assert_eq!(opened.err(), Some(STATUS_DELETE_PENDING));
    // IRP_MJ_CLEANUP and IRP_MJ_CLOSE still succeed.
    driver.close(1);
}

#[test]
fn a_surprise_removal_leaves_a_request_to_its_cancel_routine_and_the_removal_waits_for_it() {
    let driver = load();
    assert_eq!(driver.device.pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
    let (a, b) = (pend(&driver, 1), pend(&driver, 1));
    let cancelling = a.begin_cancel();
    assert_eq!(driver.device.pnp(IRP_MN_SURPRISE_REMOVAL), STATUS_SUCCESS);
    assert_eq!((a.status(), b.status(), driver.holds()), (None, GONE, 1));
    let late = driver.send(PEND, 1);
    assert_eq!(
        (late.answer(), late.status()),
        (STATUS_DELETE_PENDING, GONE)
    );
    assert!(cancelling.finish());
    assert_eq!((a.status(), driver.holds()), (CANCELLED, 0));
    assert_eq!(driver.device.pnp(IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
    assert_eq!(driver.kernel.device_objects(), 0);
}

#[test]
fn a_request_that_is_being_queued_during_the_removal_is_refused() {
    let driver = Rc::new(load());
    assert_eq!(driver.device.pnp(IRP_MN_START_DEVICE), STATUS_SUCCESS);
    let pnp_manager = Rc::clone(&driver);
    BEFORE_INSERTION.set(Some(Box::new(move || {
        assert_eq!(
            pnp_manager.device.pnp(IRP_MN_SURPRISE_REMOVAL),
            STATUS_SUCCESS
        );
    })));
    let late = pend(&driver, 1);
    assert_eq!((late.status(), driver.holds()), (GONE, 0));
    assert_eq!(driver.device.pnp(IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
}

#[test]
fn a_request_that_arrives_after_its_handle_was_closed_is_not_queued() {
    let driver = Rc::new(load());
    let user = Rc::clone(&driver);
    driver.send(COMPLETE, 1);
    BEFORE_INSERTION.set(Some(Box::new(move || user.clean_up(1))));
    let late = pend(&driver, 1);
    assert_eq!((late.status(), driver.holds()), (CANCELLED, 0));
    assert!(!complete(&driver));
}
