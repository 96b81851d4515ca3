//! A device queue with a `StartIo` routine, under the cancel spin lock, as `IoStartPacket` uses it.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    FILE_OBJECT, IRP, KDEVICE_QUEUE, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND, STATUS_PENDING,
    STATUS_SUCCESS,
};
use ntmodel::{File, Kernel};

use super::{
    Fault,
    frame::{Family, Irp, nt, set_up},
};
use crate::harness::PEND;

/// The mistakes of this family.
pub(super) const FAULTS: &[Fault] = faults! { "start_io":
    "left_busy", LeftBusy, cancel_against_start, DeviceQueueBusy,
        "StartIo completes a request that was cancelled, and does not start the next: the device queue stays busy";
    "cancel_lock_kept", CancelLockKept, cancel_against_start, CancelSpinLockRelease,
        "the Cancel routine has nothing to do for the current IRP, and returns without releasing the cancel spin lock";
    "not_disarmed", NotDisarmed, cancel_against_start, DoubleCompletion,
        "StartIo leaves the Cancel routine set: the request is cancelled while it is being served, and completed again";
    "disarmed_before", DisarmedBefore, served_in_turn, CompleteRequest,
        "the Cancel routine is cleared before StartIo is called and not in it: a request that was queued keeps it";
};

/// The driver's part of the device extension, which the cancel spin lock protects.
#[repr(C)]
struct Packets {
    queue: UnsafeCell<KDEVICE_QUEUE>,
    /// The next IRP to be started, as `DeviceObject->CurrentIrp`.
    current: Cell<*mut IRP>,
    /// The IRP that the device is serving.
    started: Cell<*mut IRP>,
}

/// Acquires the cancel spin lock.
fn acquire() -> u8 {
    let mut old_irql = 0;
    nt!(IoAcquireCancelSpinLock(&raw mut old_irql));
    old_irql
}

/// Releases the cancel spin lock.
fn release(irql: u8) {
    nt!(IoReleaseCancelSpinLock(irql));
}

impl Packets {
    /// Removes the next IRP from the queue; if there is none, the queue is no longer busy.
    fn next(&self) -> Option<Irp> {
        let old_irql = acquire();
        let entry = nt!(KeRemoveDeviceQueue(self.queue.get()));
        let next = (!entry.is_null()).then(|| {
            // SAFETY: the queue contains IRPs only.
            Irp(unsafe { nt::irp::from_device_queue_entry(entry) })
        });
        self.current.set(next.map_or(null_mut(), |irp| irp.0));
        release(old_irql);
        next
    }
}

/// The steps of the driver; the default methods are correct.
trait Steps: Sized + 'static {
    /// `IoStartPacket`.
    fn start_packet(data: &Packets, irp: Irp) {
        let old_irql = acquire();
        irp.set_cancel_routine::<StartIo<Self>>();
        let entry = nt::irp::device_queue_entry(irp.0);
        let queued = nt!(KeInsertDeviceQueue(data.queue.get(), entry)) != 0;
        if !queued {
            data.current.set(irp.0);
        }
        release(old_irql);
        if !queued {
            Self::start_immediately(data, irp);
        }
    }

    /// Starts a request that was not queued.
    fn start_immediately(data: &Packets, irp: Irp) {
        Self::serve(data, irp);
    }

    /// Starts a request, and the next ones until the device is busy.
    fn serve(data: &Packets, irp: Irp) {
        let mut next = Some(irp);
        while let Some(irp) = next {
            next = if Self::start_io(data, irp) {
                None
            } else {
                data.next()
            };
        }
    }

    /// The `StartIo` routine; returns whether the device is busy now.
    fn start_io(data: &Packets, irp: Irp) -> bool {
        let old_irql = acquire();
        Self::disarm(irp);
        data.current.set(null_mut());
        if irp.is_cancelled() {
            release(old_irql);
            irp.complete(STATUS_CANCELLED);
            return Self::IS_BUSY_AFTER_CANCEL;
        }
        data.started.set(irp.0);
        release(old_irql);
        true
    }

    /// Makes a request not cancelable; the caller holds the cancel spin lock.
    fn disarm(irp: Irp) {
        irp.clear_cancel_routine();
    }

    /// Whether `StartIo` reports the device as busy after it has completed a cancelled request.
    const IS_BUSY_AFTER_CANCEL: bool = false;

    /// Completes the request that the device has served, and starts the next; returns whether there was one.
    fn finish(data: &Packets) -> bool {
        let old_irql = acquire();
        let started = data.started.replace(null_mut());
        release(old_irql);
        if started.is_null() {
            return false;
        }
        if let Some(next) = data.next() {
            Self::serve(data, next);
        }
        Irp(started).complete(STATUS_SUCCESS);
        true
    }

    /// The Cancel routine.
    fn cancelled(data: &Packets, irp: Irp) {
        let cancel_irql = irp.cancel_irql();
        if data.current.get() == irp.0 {
            // StartIo tests Irp->Cancel.
            Self::leave(cancel_irql);
            return;
        }
        let entry = nt::irp::device_queue_entry(irp.0);
        nt!(KeRemoveEntryDeviceQueue(data.queue.get(), entry));
        release(cancel_irql);
        irp.complete(STATUS_CANCELLED);
    }

    /// Returns from the Cancel routine without an effect.
    fn leave(cancel_irql: u8) {
        release(cancel_irql);
    }
}

/// The driver with these steps.
struct StartIo<S>(PhantomData<S>);

impl<S: Steps> Family for StartIo<S> {
    type Data = Packets;

    fn initialize(data: &Packets) {
        nt!(KeInitializeDeviceQueue(data.queue.get()));
    }

    fn control(data: &Packets, irp: Irp, code: u32) -> NTSTATUS {
        if code == PEND {
            irp.mark_pending();
            S::start_packet(data, irp);
            return STATUS_PENDING;
        }
        let status = if S::finish(data) {
            STATUS_SUCCESS
        } else {
            STATUS_NOT_FOUND
        };
        irp.complete(status);
        status
    }

    /// The tests leave no IRP in the queue.
    fn cleanup(_: &Packets, _: *mut FILE_OBJECT) {}

    fn cancel(data: &Packets, irp: Irp) {
        S::cancelled(data, irp);
    }
}

/// One thread sends a request and another cancels it, before, during or after that; then a second request is sent.
fn cancel_against_start<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<StartIo<S>>(kernel);
    let canceller = harness.actor("canceller", &harness.file, File::cancel_all);
    let first = harness.send(PEND);
    canceller.join();
    let second = harness.send(PEND);
    // The device has served the first request, if it was started, and the second.
    while harness.complete() {}
    harness.end(&first, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    harness.end(&second, &[STATUS_SUCCESS]);
    harness.tear_down();
}

/// One request is served while another is queued, which is served next.
fn served_in_turn<S: Steps>(kernel: &Arc<Kernel>) {
    let harness = set_up::<StartIo<S>>(kernel);
    let requests = [PEND, PEND].map(|code| harness.send(code));
    for request in &requests {
        assert!(harness.complete());
        harness.end(request, &[STATUS_SUCCESS]);
    }
    harness.tear_down();
}

struct Correct;

impl Steps for Correct {}

struct LeftBusy;

impl Steps for LeftBusy {
    const IS_BUSY_AFTER_CANCEL: bool = true;
}

struct CancelLockKept;

impl Steps for CancelLockKept {
    fn leave(_: u8) {}
}

struct NotDisarmed;

impl Steps for NotDisarmed {
    fn disarm(_: Irp) {}
}

struct DisarmedBefore;

impl Steps for DisarmedBefore {
    fn start_immediately(data: &Packets, irp: Irp) {
        let old_irql = acquire();
        irp.clear_cancel_routine();
        release(old_irql);
        Self::serve(data, irp);
    }

    fn disarm(_: Irp) {}
}
