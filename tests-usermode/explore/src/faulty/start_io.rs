//! A device queue with a `StartIo` routine, under the cancel spin lock, as `IoStartPacket` has it.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    FILE_OBJECT, IRP, KDEVICE_QUEUE, NTSTATUS, STATUS_CANCELLED, STATUS_NOT_FOUND, STATUS_PENDING,
    STATUS_SUCCESS, irp::IoSetCancelRoutine,
};
use ntmodel::{Kernel, Rule};

use super::{
    EVERY, Fault,
    frame::{COMPLETE, Family, Irp, PEND, Stage, cancel, end_of},
};

/// What the device extension holds. The cancel spin lock guards it all.
#[repr(C)]
struct Packets {
    queue: UnsafeCell<KDEVICE_QUEUE>,
    /// What is to be started next, as `DeviceObject->CurrentIrp`.
    current: Cell<*mut IRP>,
    /// What the device works on.
    started: Cell<*mut IRP>,
}

/// Acquires the cancel spin lock.
fn acquire() -> u8 {
    let mut old_irql = 0;
    // SAFETY: the lock is the kernel's.
    unsafe { nt::IoAcquireCancelSpinLock(&raw mut old_irql) };
    old_irql
}

/// Releases the cancel spin lock.
fn release(irql: u8) {
    // SAFETY: the caller holds the lock.
    unsafe { nt::IoReleaseCancelSpinLock(irql) };
}

impl Packets {
    /// Takes what is next out of the queue, which else is busy no more.
    fn next(&self) -> Option<Irp> {
        let old_irql = acquire();
        // SAFETY: the IRQL is DISPATCH_LEVEL, and the queue is busy.
        let entry = unsafe { nt::KeRemoveDeviceQueue(self.queue.get()) };
        let next = (!entry.is_null()).then(|| {
            // SAFETY: every entry of the queue is an IRP's.
            Irp(unsafe { nt::irp::from_device_queue_entry(entry) })
        });
        self.current.set(next.map_or(null_mut(), |irp| irp.0));
        release(old_irql);
        next
    }
}

/// What the driver does, step by step, as it should be.
trait Steps: Sized + 'static {
    /// `IoStartPacket`.
    fn start_packet(own: &Packets, irp: Irp) {
        let old_irql = acquire();
        // SAFETY: the IRP is the caller's.
        unsafe { IoSetCancelRoutine(irp.0, Some(cancel::<StartIo<Self>>)) };
        let entry = nt::irp::device_queue_entry(irp.0);
        // SAFETY: the IRQL is DISPATCH_LEVEL, and the entry is on no queue.
        let queued = unsafe { nt::KeInsertDeviceQueue(own.queue.get(), entry) } != 0;
        if !queued {
            own.current.set(irp.0);
        }
        release(old_irql);
        if !queued {
            Self::start_at_once(own, irp);
        }
    }

    /// Starts a request that has not waited.
    fn start_at_once(own: &Packets, irp: Irp) {
        Self::serve(own, irp);
    }

    /// Starts a request, and the next as long as the one before has not made the device busy.
    fn serve(own: &Packets, irp: Irp) {
        let mut next = Some(irp);
        while let Some(irp) = next {
            next = if Self::start_io(own, irp) {
                None
            } else {
                own.next()
            };
        }
    }

    /// The `StartIo` routine; says whether the device is busy now.
    fn start_io(own: &Packets, irp: Irp) -> bool {
        let old_irql = acquire();
        Self::disarm(irp);
        own.current.set(null_mut());
        // SAFETY: the IRP is the current one, and nobody else's.
        if unsafe { nt::irp::is_cancel_requested(irp.0) } {
            release(old_irql);
            irp.complete(STATUS_CANCELLED);
            return Self::IS_BUSY_AFTER_CANCEL;
        }
        own.started.set(irp.0);
        release(old_irql);
        true
    }

    /// Makes a request not cancelable; the caller holds the cancel spin lock.
    fn disarm(irp: Irp) {
        // SAFETY: the IRP is the current one, and nobody else's.
        unsafe { IoSetCancelRoutine(irp.0, None) };
    }

    /// Whether `StartIo` leaves it at the completion of a request that was cancelled.
    const IS_BUSY_AFTER_CANCEL: bool = false;

    /// The device is done with what it works on: completes that, and starts the next. Says whether there was one.
    fn finish(own: &Packets) -> bool {
        let old_irql = acquire();
        let started = own.started.replace(null_mut());
        release(old_irql);
        if started.is_null() {
            return false;
        }
        if let Some(next) = own.next() {
            Self::serve(own, next);
        }
        Irp(started).complete(STATUS_SUCCESS);
        true
    }

    /// The Cancel routine.
    fn cancelled(own: &Packets, irp: Irp) {
        // SAFETY: this is the Cancel routine, which holds the cancel spin lock.
        let cancel_irql = unsafe { nt::irp::cancel_irql(irp.0) };
        if own.current.get() == irp.0 {
            // StartIo will look at Irp->Cancel.
            Self::leave(cancel_irql);
            return;
        }
        let entry = nt::irp::device_queue_entry(irp.0);
        // SAFETY: the IRQL is DISPATCH_LEVEL.
        unsafe { nt::KeRemoveEntryDeviceQueue(own.queue.get(), entry) };
        release(cancel_irql);
        irp.complete(STATUS_CANCELLED);
    }

    /// Leaves the Cancel routine without having done anything.
    fn leave(cancel_irql: u8) {
        release(cancel_irql);
    }
}

/// The driver of some steps.
struct StartIo<S>(PhantomData<S>);

impl<S: Steps> Family for StartIo<S> {
    type Own = Packets;

    fn initialise(own: &Packets) {
        // SAFETY: the queue stays where it is, and nobody uses it yet.
        unsafe { nt::KeInitializeDeviceQueue(own.queue.get()) };
    }

    fn control(own: &Packets, irp: Irp, code: u32) -> NTSTATUS {
        if code == PEND {
            // SAFETY: the IRP is this routine's.
            unsafe { nt::irp::IoMarkIrpPending(irp.0) };
            S::start_packet(own, irp);
            return STATUS_PENDING;
        }
        let status = if S::finish(own) {
            STATUS_SUCCESS
        } else {
            STATUS_NOT_FOUND
        };
        irp.complete(status);
        status
    }

    /// The scene leaves nothing in the queue.
    fn cleanup(_: &Packets, _: *mut FILE_OBJECT) {}

    fn cancel(own: &Packets, irp: Irp) {
        S::cancelled(own, irp);
    }
}

/// One actor sends a request, and another one cancels it, before, meanwhile or after; then a second one is sent.
fn cancel_against_start<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<StartIo<S>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let first = stage.send(PEND);
    canceller.join();
    let second = stage.send(PEND);
    // The device is done with the first one, if that was started, and with the second one.
    while stage.send(COMPLETE).answer() == STATUS_SUCCESS {}
    assert!([STATUS_SUCCESS, STATUS_CANCELLED].contains(&end_of(&first)));
    assert_eq!(end_of(&second), STATUS_SUCCESS);
    stage.strike();
}

/// One request is served while another one waits, which is served then.
fn served_in_turn<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<StartIo<S>>(kernel);
    let requests = [PEND, PEND].map(|code| stage.send(code));
    for request in &requests {
        assert_eq!(stage.send(COMPLETE).answer(), STATUS_SUCCESS);
        assert_eq!(end_of(request), STATUS_SUCCESS);
    }
    stage.strike();
}

struct Correct;

impl Steps for Correct {}

struct LeftBusy;

impl Steps for LeftBusy {
    const IS_BUSY_AFTER_CANCEL: bool = true;
}

pub(super) const LEFT_BUSY: Fault = Fault {
    name: "start_io::left_busy",
    twin_name: "start_io::left_busy, corrected",
    what: "StartIo completes a request that was cancelled, and does not start the next: the device queue stays busy",
    rule: Rule::DeviceQueueBusy,
    search: EVERY,
    faulty: cancel_against_start::<LeftBusy>,
    twin: cancel_against_start::<Correct>,
};

struct CancelLockKept;

impl Steps for CancelLockKept {
    fn leave(_: u8) {}
}

pub(super) const CANCEL_LOCK_KEPT: Fault = Fault {
    name: "start_io::cancel_lock_kept",
    twin_name: "start_io::cancel_lock_kept, corrected",
    what: "the Cancel routine has nothing to do for the current IRP, and returns without releasing the cancel spin lock",
    rule: Rule::CancelSpinLockRelease,
    search: EVERY,
    faulty: cancel_against_start::<CancelLockKept>,
    twin: cancel_against_start::<Correct>,
};

struct NotDisarmed;

impl Steps for NotDisarmed {
    fn disarm(_: Irp) {}
}

pub(super) const NOT_DISARMED: Fault = Fault {
    name: "start_io::not_disarmed",
    twin_name: "start_io::not_disarmed, corrected",
    what: "StartIo leaves the Cancel routine set: the request is cancelled while the device works on it, and completed again",
    rule: Rule::DoubleCompletion,
    search: EVERY,
    faulty: cancel_against_start::<NotDisarmed>,
    twin: cancel_against_start::<Correct>,
};

struct DisarmedBefore;

impl Steps for DisarmedBefore {
    fn start_at_once(own: &Packets, irp: Irp) {
        let old_irql = acquire();
        // SAFETY: the IRP is the current one, and nobody else's.
        unsafe { IoSetCancelRoutine(irp.0, None) };
        release(old_irql);
        Self::serve(own, irp);
    }

    fn disarm(_: Irp) {}
}

pub(super) const DISARMED_BEFORE: Fault = Fault {
    name: "start_io::disarmed_before",
    twin_name: "start_io::disarmed_before, corrected",
    what: "the Cancel routine is cleared before StartIo is called and not in it: a request that has waited keeps it",
    rule: Rule::StartIoCancel,
    search: EVERY,
    faulty: served_in_turn::<DisarmedBefore>,
    twin: served_in_turn::<Correct>,
};
