//! A filter driver above and below a function driver: each way to forward a request, PnP, and the removal.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::sync::Arc;

use common::{Place, Stack, code, kernel, load, load_filter, place};
use ntmodel::{Config, Device as Dev, Driver, File, Kernel, Request, explore};
use pinned_init::PinInit;
use wdm::{
    CompletionObserver, CompletionRoutine, Device, Error, FileIrp, Filter, Guid, Handled,
    InterlockedLong, IoType, Irp, MajorFunction, NewDevice, NewFilter, NtStatus, PassiveLevel,
    PendedIrp, Returned, Shared,
    irql::{CallerLevel, NoSpinLockHeld},
};

/// The operation of the function driver: the low digit of the function code.
const SUCCEED: u32 = 0;
const FAIL: u32 = 1;
/// Keeps the request until a release.
const PEND: u32 = 2;
const RELEASE: u32 = 3;

/// The operation of the filter: the next digit.
const FORWARD: u32 = 0x800;
const OBSERVE: u32 = 0x810;
const COMPLETE: u32 = 0x820;
/// Completes the request with another status when it returns.
const CHANGE: u32 = 0x830;
/// Keeps the request when it returns, until the removal or a request that releases it.
const KEEP: u32 = 0x840;
const COMPLETE_KEPT: u32 = 0x850;
/// Drops the request when it returns.
const DROP: u32 = 0x860;

struct LowerDriver(Place<PendedIrp>);

impl LowerDriver {
    fn keep<'irp>(&self, irp: Irp<'irp>, irql: &mut impl NoSpinLockHeld) -> Handled<'irp> {
        let (irp, pending) = irp.pend_not_cancelable(irql);
        let old = self.0.with(irql, |kept, _| kept.replace(irp));
        if let Some(old) = old {
            old.complete(Error::CANCELLED, irql);
        }
        pending
    }
}

impl Device for LowerDriver {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    const IO_TYPE: IoType = IoType::Direct;

    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(place(device, irql)?)))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match (irp.code() >> 2) & 0xf {
            SUCCEED => irp.complete_with(&7_u32, irql),
            FAIL => irp.complete(Error::DEVICE_BUSY, irql),
            PEND => self.keep(irp, irql),
            _ => {
                let kept = self.0.with(irql, |kept, _| kept.take());
                let status = match kept {
                    Some(kept) => kept.complete_with(&8_u32, irql),
                    None => NtStatus::NOT_FOUND,
                };
                irp.complete(status, irql)
            }
        }
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        if (irp.code() >> 2) & 0xf == PEND {
            return self.keep(irp, irql);
        }
        // To the bus driver, which does not change the status.
        irp.forward(irql)
    }

    fn shutdown(&self, irql: &mut PassiveLevel) {
        self.remove(irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        if let Some(kept) = self.0.with(irql, |kept, _| kept.take()) {
            kept.complete(Error::DELETE_PENDING, irql);
        }
    }
}

/// The filter's record of a request.
struct Counts {
    ends: InterlockedLong,
    failures: InterlockedLong,
    kept: Place<PendedIrp>,
}

struct CountObserver;

impl CompletionObserver for CountObserver {
    type Record = Shared<Counts>;

    fn run(irp: &Returned<PendedIrp<Shared<Counts>>>, _: &mut CallerLevel) {
        let seen = irp.record();
        seen.ends.increment();
        if irp.result().is_err() {
            seen.failures.increment();
        } else {
            assert_eq!(irp.information(), 4);
        }
    }
}

struct ReturnRoutine;

impl CompletionRoutine for ReturnRoutine {
    type Record = Shared<Counts>;

    fn run(irp: Returned<PendedIrp<Shared<Counts>>>, irql: &mut CallerLevel) {
        irp.record().ends.increment();
        match (irp.code() >> 2) & !0xf {
            code if code & 0xff0 == COMPLETE => irp.complete(irql),
            code if code & 0xff0 == CHANGE => {
                let result = irp.result();
                let Ok(irp) = irp.into_irp() else { return };
                match result {
                    Ok(()) => {
                        irp.complete_with(&9_u32, irql);
                    }
                    Err(_) => irp.complete(NtStatus::SUCCESS, irql),
                }
            }
            code if code & 0xff0 == KEEP => {
                let Ok(irp) = irp.into_irp() else { return };
                let (seen, irp) = irp.take_record();
                let old = seen.kept.with(irql, |kept, _| kept.replace(irp));
                if let Some(old) = old {
                    old.complete(Error::CANCELLED, irql);
                }
            }
            _ => drop(irp),
        }
    }
}

struct FilterDriver(Shared<Counts>);

impl Filter for FilterDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let seen = Counts {
            ends: InterlockedLong::new(0),
            failures: InterlockedLong::new(0),
            kept: place(device, irql)?,
        };
        let seen = Shared::new(Ok::<_, Error>(seen), device, irql)?;
        Ok(Ok::<_, Error>(Self(seen)))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.major() == MajorFunction::Create {
            let opened = irp.with_record(self.0.clone()).forward_and_wait(irql);
            opened.record().ends.increment();
            return opened.complete(irql);
        }
        irp.forward(irql)
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.major() == MajorFunction::InternalDeviceControl {
            assert_eq!(irp.input_bytes(), Err(Error::INVALID_DEVICE_REQUEST));
            assert_eq!(irp.output_length(), 0);
        }
        if irp.major() == MajorFunction::Read {
            return irp.forward(irql);
        }
        match (irp.code() >> 2) & 0xff0 {
            FORWARD => irp.forward(irql),
            OBSERVE => irp
                .with_record(self.0.clone())
                .forward_with_observer::<CountObserver>(irql),
            COMPLETE_KEPT => {
                self.remove(irql);
                irp.complete_with(&[self.0.ends.read(), self.0.failures.read()], irql)
            }
            _ => irp
                .with_record(self.0.clone())
                .forward_with_routine::<ReturnRoutine>(irql),
        }
    }

    fn remove(&self, irql: &mut CallerLevel) {
        if let Some(kept) = self.0.kept.with(irql, |kept, _| kept.take()) {
            kept.complete(NtStatus::SUCCESS, irql);
        }
    }
}

struct Opened {
    stack: Stack,
    file: Arc<File>,
}

fn load_both(kernel: &Arc<Kernel>) -> (Driver, Driver) {
    (
        load::<LowerDriver>(kernel),
        load_filter::<FilterDriver>(kernel),
    )
}

impl Opened {
    fn new(kernel: &Arc<Kernel>) -> Self {
        let (lower, filter) = load_both(kernel);
        let stack = Stack::with_flags(lower, nt::DO_POWER_PAGABLE);
        let stack = stack.filter(filter).started();
        let file = Arc::new(stack.open());
        Self { stack, file }
    }

    fn send(&self, function: u32) -> Request {
        self.file.device_control(code(function), &[], vec![0; 8])
    }

    /// The status, and the first number of the output.
    fn end(&self, function: u32) -> (i32, u8) {
        end(&self.send(function))
    }

    /// The number of requests that returned, and the number of those that had failed.
    fn seen(&self) -> (u8, u8) {
        let end = self.send(COMPLETE_KEPT).ended().expect("it does not pend");
        (end.output[0], end.output[4])
    }

    fn unload(self) {
        if let Some(file) = Arc::into_inner(self.file) {
            file.close();
        }
        self.stack.unload();
    }
}

fn end(request: &Request) -> (i32, u8) {
    let end = common::end(request);
    (end.status, end.output[0])
}

const BUSY: i32 = nt::STATUS_DEVICE_BUSY;

#[test]
fn request_is_forwarded_and_returned_as_the_filter_requires() {
    let opened = Opened::new(&kernel());
    assert_eq!(opened.seen(), (1, 0));
    for (function, expected) in [
        (FORWARD | SUCCEED, (0, 7)),
        (FORWARD | FAIL, (BUSY, 0)),
        (OBSERVE | SUCCEED, (0, 7)),
        (OBSERVE | FAIL, (BUSY, 0)),
        (COMPLETE | SUCCEED, (0, 7)),
        (COMPLETE | FAIL, (BUSY, 0)),
        (CHANGE | SUCCEED, (0, 9)),
        (CHANGE | FAIL, (0, 0)),
    ] {
        assert_eq!(opened.end(function), expected, "{function:#x}");
    }
    assert_eq!(opened.seen(), (7, 1));
    opened.unload();
}

#[test]
fn pending_request_returns_later() {
    let opened = Opened::new(&kernel());
    for (function, first) in [(FORWARD, 8), (OBSERVE, 8), (COMPLETE, 8), (CHANGE, 9)] {
        let pending = opened.send(function | PEND);
        assert_eq!(pending.answer(), nt::STATUS_PENDING);
        assert_eq!(opened.end(FORWARD | RELEASE).0, 0);
        assert_eq!(end(&pending), (0, first), "{function:#x}");
    }
    assert_eq!(opened.end(FORWARD | RELEASE).0, nt::STATUS_NOT_FOUND);
    opened.unload();
}

#[test]
fn request_that_returned_is_kept_until_the_filter_completes_it() {
    let opened = Opened::new(&kernel());
    let kept = opened.send(KEEP | FAIL);
    assert_eq!((kept.answer(), kept.status()), (nt::STATUS_PENDING, None));
    opened.seen();
    assert_eq!(end(&kept), (0, 0));
    let kept = opened.send(KEEP | SUCCEED);
    opened.stack.device.surprise_remove();
    assert_eq!(end(&kept).0, 0);
    opened.unload();
}

/// The function driver completes its kept request when it receives the removal, and the filter then keeps the request.
#[test]
fn request_that_returns_during_the_removal_is_completed() {
    let opened = Opened::new(&kernel());
    let device = &opened.stack.device;
    let kept = device.internal_device_control(code(KEEP | PEND), &[], vec![0; 8]);
    assert_eq!(kept.answer(), nt::STATUS_PENDING);
    opened.file.close_handle();
    device.remove().expect("no file is open");
    assert_eq!(end(&kept).0, 0);
    opened.unload();
}

#[test]
fn request_that_returned_and_is_dropped_is_completed() {
    let opened = Opened::new(&Kernel::new(Config::default()));
    let dropped = opened.send(DROP | SUCCEED);
    assert_eq!(end(&dropped).0, nt::STATUS_INTERNAL_ERROR);
    opened.unload();
}

/// The I/O manager sends the request to the top of the device stack, and the filter forwards it.
#[test]
fn function_driver_is_notified_of_a_shutdown() {
    let kernel = kernel();
    let opened = Opened::new(&kernel);
    let pending = opened.send(FORWARD | PEND);
    kernel.notify_shutdown();
    assert_eq!(end(&pending).0, nt::STATUS_DELETE_PENDING);
    opened.unload();
    // The device is no longer registered.
    kernel.notify_shutdown();
}

/// A lower driver, which fails each request.
struct Busy;

impl raw::Control for Busy {
    fn control(irp: *mut nt::IRP) -> i32 {
        raw::complete(irp, nt::STATUS_DEVICE_BUSY)
    }
}

#[test]
fn function_driver_forwards_too() {
    let kernel = kernel();
    let stack = Stack::new(raw::load::<Busy>(&kernel));
    let stack = stack.function(load::<LowerDriver>(&kernel)).started();
    let device = &stack.device;
    let sent = device.internal_device_control(code(0x800), &[], Vec::new());
    assert_eq!(sent.status(), Some(nt::STATUS_DEVICE_BUSY));
    stack.unload();
}

/// A filter below the function driver has the flags of the bus driver's device object; it receives the forwarded requests.
#[test]
fn lower_filter_receives_the_forwarded_requests() {
    let kernel = kernel();
    let (lower, filter) = load_both(&kernel);
    let stack = Stack::with_flags(filter, nt::DO_POWER_PAGABLE);
    let stack = stack.function(lower).started();
    let file = stack.open();
    let sent = file.device_control(code(FORWARD | SUCCEED), &[], vec![0; 4]);
    assert_eq!(end(&sent), (0, 7));
    file.close();
    stack.unload();
}

/// The flags of the lowest driver's device object.
fn flags(device: &Dev) -> *mut u32 {
    let object: *mut nt::DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(device.object());
    // SAFETY: the device object is alive; only the address is computed.
    unsafe { &raw mut (*object).Flags }
}

/// By Microsoft's "Handling PnP Paging Requests": the flag is set on the way down, here since no device is above, and cleared
/// on the way up if the lower device does not have it.
#[test]
fn paging_file_changes_the_flag_of_the_device() {
    for lower_has_flag in [false, true] {
        let kernel = kernel();
        let filter = load_filter::<FilterDriver>(&kernel);
        let lower = if lower_has_flag {
            nt::DO_POWER_PAGABLE
        } else {
            0
        };
        let stack = Stack::with_flags(filter, lower).started();
        let flags = flags(&stack.device);
        // SAFETY: no other code uses the device object now.
        unsafe { *flags ^= nt::DO_POWER_PAGABLE };
        let device = &stack.device;
        device.pnp(nt::IRP_MN_DEVICE_USAGE_NOTIFICATION);
        // SAFETY: as above.
        assert_eq!(unsafe { *flags } & nt::DO_POWER_PAGABLE, lower);
        stack.unload();
    }
}

/// AddDevice undoes its steps after each failure.
#[test]
fn driver_that_cannot_be_added_leaves_nothing_behind() {
    let (faults, kernel) = common::kernel_with_faults();
    let (lower, filter) = load_both(&kernel);
    let mut refused = 0;
    loop {
        faults.arm();
        let added = lower.add_device_with(nt::DO_POWER_PAGABLE);
        let filtered = added
            .as_ref()
            .is_ok_and(|device| filter.add_filter(device).is_ok());
        let fired = faults.disarm();
        assert_eq!(filtered, !fired);
        if let Ok(device) = added {
            device.pnp(nt::IRP_MN_REMOVE_DEVICE);
        }
        if !fired {
            break;
        }
        refused += 1;
    }
    assert!(refused >= 8, "{refused}");
    filter.unload();
    lower.unload();
}

/// A filter that serves no device.
struct Declines;

impl Filter for Declines {
    fn serves(_: &NewFilter, _: &mut PassiveLevel) -> bool {
        false
    }

    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Err::<Result<Self, Error>, _>(Error::UNSUCCESSFUL)
    }
}

/// Guidelines for Writing AddDevice Routines: the filter's routine succeeds, and the device works without the filter.
#[test]
fn device_that_a_filter_does_not_serve_works_without_it() {
    let kernel = kernel();
    let stack = Stack::new(load::<LowerDriver>(&kernel)).filter(load_filter::<Declines>(&kernel));
    let stack = stack.started();
    let request = stack.open().device_control(code(SUCCEED), &[], vec![0; 16]);
    assert_eq!(request.status(), Some(nt::STATUS_SUCCESS));
    stack.unload();
}

/// One request is forwarded and returns, while another one completes it in the function driver.
fn released_by_another_thread(kernel: &Arc<Kernel>, function: u32) {
    let opened = Opened::new(kernel);
    let file_clone = Arc::clone(&opened.file);
    let releaser = kernel.actor("releaser", move || {
        let sent = file_clone.device_control(code(FORWARD | RELEASE), &[], vec![0; 8]);
        end(&sent).0
    });
    let pending = opened.send(function | PEND);
    if releaser.join() != 0 {
        assert_eq!(opened.end(FORWARD | RELEASE).0, 0);
    }
    assert_eq!(end(&pending), (0, 8));
    opened.unload();
}

#[test]
fn observed_request_is_completed_in_any_order() {
    explore::check(2_000, |kernel| released_by_another_thread(kernel, OBSERVE));
}

#[test]
fn returned_request_is_completed_in_any_order() {
    explore::check(2_000, |kernel| released_by_another_thread(kernel, COMPLETE));
}

#[test]
fn kept_request_is_completed_by_the_removal() {
    explore::check(2_000, |kernel| {
        let opened = Opened::new(kernel);
        let device = opened.stack.device.clone();
        let remover = kernel.actor("remover", move || device.surprise_remove());
        let kept = opened.send(KEEP | SUCCEED);
        remover.join();
        let status = end(&kept).0;
        assert!(
            [0, nt::STATUS_DELETE_PENDING].contains(&status),
            "{status:#x}"
        );
        opened.unload();
    });
}
