//! The I/O manager: sends IRPs to drivers, sees what becomes of them, and tells whoever waits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
};

use crate::{
    Rule,
    bug_check::{BugCheck, callers},
    call::Call,
    device::Devices,
    file::FileInner,
    irp::{Asked, IrpRecord},
    kernel::Kernel,
    thread::Attached,
    wait::{Wait, locked},
};

/// How long a wait is that is to have no end.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// How many completed IRPs are kept, so that who uses one still is found.
const KEPT: usize = 256;

/// What the I/O manager knows.
#[derive(Default)]
pub(crate) struct Io {
    irps: Mutex<Irps>,
    last_irp: AtomicU32,
    pub(crate) devices: Devices,
    /// The zones that were initialised, by their addresses.
    pub(crate) zones: Mutex<HashSet<usize>>,
    /// Files whose last IRP has ended at too high an IRQL to send `IRP_MJ_CLOSE`.
    deferred: Mutex<Vec<Arc<FileInner>>>,
}

#[derive(Default)]
struct Irps {
    by_address: HashMap<usize, Arc<IrpRecord>>,
    completed: VecDeque<usize>,
}

impl Io {
    pub(crate) fn find(&self, address: usize) -> Option<Arc<IrpRecord>> {
        locked(&self.irps).by_address.get(&address).cloned()
    }

    fn add(&self, record: &Arc<IrpRecord>) {
        let mut irps = locked(&self.irps);
        irps.by_address.insert(record.address(), Arc::clone(record));
    }

    fn retire(&self, record: &IrpRecord) {
        let mut irps = locked(&self.irps);
        irps.completed.push_back(record.address());
        if irps.completed.len() > KEPT {
            let oldest = irps.completed.pop_front();
            let oldest = oldest.and_then(|oldest| irps.by_address.remove(&oldest));
            drop(irps);
            drop(oldest);
        }
    }

    /// The IRPs that have not ended, in the order in which they were sent.
    pub(crate) fn live(&self) -> Vec<Arc<IrpRecord>> {
        let irps = locked(&self.irps);
        let live = irps
            .by_address
            .values()
            .filter(|record| !record.is_completed());
        let mut live: Vec<_> = live.cloned().collect();
        live.sort_by_key(|record| record.number);
        live
    }

    /// The IRPs of a file that have not ended.
    pub(crate) fn live_of(&self, file: &Arc<FileInner>) -> Vec<Arc<IrpRecord>> {
        let mut live = self.live();
        live.retain(|record| {
            record
                .file
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, file))
        });
        live
    }

    pub(crate) fn defer(&self, file: Arc<FileInner>) {
        locked(&self.deferred).push(file);
    }

    pub(crate) fn take_deferred(&self) -> Vec<Arc<FileInner>> {
        std::mem::take(&mut *locked(&self.deferred))
    }
}

impl Call {
    /// Makes an IRP.
    pub(crate) fn new_irp(
        &self,
        asked: Asked,
        file: Option<&Arc<FileInner>>,
        input: &[u8],
        output: Vec<u8>,
    ) -> Arc<IrpRecord> {
        let io = &self.kernel.io;
        let number = io.last_irp.fetch_add(1, Ordering::Relaxed) + 1;
        let file = file.cloned();
        if let Some(file) = &file {
            file.add_irp();
        }
        let record = IrpRecord::new(number, asked, self.number, file, input, output);
        io.add(&record);
        record
    }

    /// Sends an IRP to the driver of a device object, and gives what its dispatch routine returned.
    pub(crate) fn send(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        let status = self.call_driver(device, record);
        record.has_returned.store(true, Ordering::Relaxed);
        self.verify_answer(record, status);
        status
    }

    /// Sends an IRP and waits for its end.
    pub(crate) fn send_and_wait(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        self.send(device, record);
        self.wait_for(Wait::Irp(record.address()), || {
            let completion = locked(&record.state).completion;
            completion.map(|(status, _)| status)
        })
    }

    /// `IoCallDriver`.
    fn call_driver(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        let irp = record.raw();
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        self.require(
            !self.kernel.io.devices.is_gone(device),
            Rule::Pointer,
            || {
                let bug_check = BugCheck(0x50, [device.addr() as u64, 0, 0, 0]);
                let what =
                    format!("{record} is sent to the device object {device:?}, which is gone");
                (bug_check, what)
            },
        );
        self.require(!record.has_cancel_routine(), Rule::CompleteRequest, || {
            let bug_check = BugCheck::io(0x203, [0, irp.addr() as u64, device.addr() as u64]);
            (
                bug_check,
                format!("{record} is passed on with its Cancel routine set"),
            )
        });
        self.require(record.next_location(device), Rule::Pointer, || {
            let bug_check = BugCheck::io(0x208, [0, irp.addr() as u64, device.addr() as u64]);
            (bug_check, format!("{record} has no further stack location"))
        });
        let Some(driver) = self.kernel.io.devices.driver_of(device) else {
            return self.bus_driver(record);
        };
        // SAFETY: a driver object lives as long as its devices.
        let routines = unsafe { &(*driver).MajorFunction };
        let Some(routine) = routines.get(record.asked.major).copied().flatten() else {
            // SAFETY: the IRP is the callee's, which is nobody.
            unsafe { nt::irp::set_status(irp, STATUS_INVALID_DEVICE_REQUEST) };
            self.complete(record);
            return STATUS_INVALID_DEVICE_REQUEST;
        };
        // What it inserted before may be gone, and its address another IRP's.
        self.inserted_last.store(null_mut(), Ordering::Relaxed);
        let irql = self.irql();
        // SAFETY: the routine is called as the I/O manager calls it.
        let status = Call::in_driver(|| unsafe { routine(device, irp) });
        let now = self.irql();
        let holds = !locked(&self.held).is_empty();
        self.require(now == irql || holds, Rule::IrqlReturn, || {
            let parameters = [device.addr() as u64, irql.into(), now.into()];
            let what =
                format!("a dispatch routine was called at IRQL {irql} and has returned at {now}");
            (BugCheck::io(5, parameters), what)
        });
        self.require_returned("a dispatch routine", irql);
        status
    }

    /// What the bus driver does below: whatever a PnP request asks is done.
    fn bus_driver(&self, record: &Arc<IrpRecord>) -> i32 {
        let irp = record.raw();
        if matches!(record.asked.major, nt::IRP_MJ_PNP | nt::IRP_MJ_POWER) {
            // SAFETY: the bus driver has the IRP.
            unsafe { nt::irp::set_status(irp, nt::STATUS_SUCCESS) };
        }
        // SAFETY: as above.
        let status = unsafe { nt::irp::status(irp) };
        self.complete(record);
        status
    }

    /// Compares what a dispatch routine returned with what became of the IRP.
    fn verify_answer(&self, record: &IrpRecord, status: i32) {
        let irp = record.raw().addr() as u64;
        let (completion, marked) = {
            let state = locked(&record.state);
            let marked = state.was_marked || (state.completion.is_none() && record.is_marked());
            (state.completion, marked)
        };
        let pending = status == STATUS_PENDING;
        if pending && !marked {
            let (rule, what) = if completion.is_some() {
                (
                    Rule::PendedCompletedRequest,
                    "is completed, was not marked pending",
                )
            } else {
                (Rule::MarkIrpPending2, "was not marked pending")
            };
            let what = format!("{record} {what}, and STATUS_PENDING is returned");
            self.stop(BugCheck::io(0x23d, [0, irp, 0]), rule, what);
        }
        if marked && !pending {
            let what = format!("{record} was marked pending, and {status:#x} is returned");
            self.stop(BugCheck::io(0x23e, [0, irp, 0]), Rule::MarkIrpPending, what);
        }
        match completion {
            None if !pending => {
                let what = format!(
                    "{record} is neither completed nor pended, and {status:#x} is returned"
                );
                self.stop(
                    BugCheck::io(0x226, [0, irp, 0]),
                    Rule::IrpProcessingComplete,
                    what,
                );
            }
            Some((completed, _)) if !pending && completed != status => {
                let what = format!(
                    "{record} is completed with {completed:#x}, and {status:#x} is returned"
                );
                self.stop(
                    BugCheck::io(0x224, [0, irp, 0]),
                    Rule::CompleteRequestStatusCheck,
                    what,
                );
            }
            _ => {}
        }
    }

    /// `IoCompleteRequest`.
    fn complete(&self, record: &Arc<IrpRecord>) {
        self.verify_completion(record);
        let irp = record.raw();
        // SAFETY: who completes an IRP owns it.
        let status = unsafe { nt::irp::status(irp) };
        let was_marked = record.is_marked();
        loop {
            let stack = record.stack();
            let (control, routine, context) =
                (stack.Control, stack.CompletionRoutine, stack.Context);
            let more = record.previous_location();
            // SAFETY: who completes an IRP owns it.
            unsafe { (*irp).PendingReturned = control & SL_PENDING_RETURNED };
            let wanted = if status >= 0 {
                SL_INVOKE_ON_SUCCESS
            } else {
                SL_INVOKE_ON_ERROR
            };
            let cancelled = control & SL_INVOKE_ON_CANCEL != 0 && record.is_cancelled();
            if let Some(routine) = routine.filter(|_| control & wanted != 0 || cancelled) {
                let device = if more {
                    record.stack().DeviceObject
                } else {
                    null_mut()
                };
                // SAFETY: the routine is called as the I/O manager calls it, with what it was set with.
                let answer = Call::in_driver(|| unsafe { routine(device, irp, context) });
                if answer == STATUS_MORE_PROCESSING_REQUIRED {
                    return;
                }
            }
            if !more {
                break;
            }
        }
        self.finish(record, status, was_marked);
    }

    fn verify_completion(&self, record: &IrpRecord) {
        let irp = record.raw();
        let address = irp.addr() as u64;
        let irql = self.irql();
        self.require(irql <= DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, || {
            (
                BugCheck::io(0xe, [irql.into(), address, 0]),
                format!("the IRQL is {irql}"),
            )
        });
        let twice = {
            let state = locked(&record.state);
            state.completion.map(|_| state.completed_by.clone())
        };
        if let Some(by) = twice {
            let bug_check = BugCheck(0x44, [address, 0, 0, 0]);
            let what = format!("{record} is completed again; {by} has completed it before");
            self.stop(bug_check, Rule::DoubleCompletion, what);
        }
        let held = locked(&self.held).last().map(ToString::to_string);
        if let Some(held) = held {
            let bug_check = BugCheck::verifier(0x2_0011, [irql.into(), address, 0]);
            let what = format!("{record} is completed while the thread holds {held}");
            self.stop(bug_check, Rule::SpinLockSafe, what);
        }
        // SAFETY: who completes an IRP owns it.
        let status = unsafe { nt::irp::status(irp) };
        self.require(
            status != STATUS_PENDING && status != -1,
            Rule::CompleteRequest,
            || {
                let status_bits = u64::from(status.cast_unsigned());
                let what = format!("{record} is completed with the status {status:#x}");
                (BugCheck::io(6, [status_bits, address, 0]), what)
            },
        );
        self.require(!record.has_cancel_routine(), record.routine_rule(), || {
            let what = format!("{record} is completed while its Cancel routine is set");
            (BugCheck::io(7, [0, address, 0]), what)
        });
        let queued = record.is_on_device_queue() || record.is_linked();
        self.require(!queued, Rule::CompleteRequest, || {
            let what = format!("{record} is completed while it is on a queue");
            (BugCheck::io(0x209, [0, address, 0]), what)
        });
    }

    /// Ends an IRP: what its user gets is copied out, and whoever waits is woken.
    fn finish(&self, record: &Arc<IrpRecord>, status: i32, was_marked: bool) {
        // SAFETY: who completes an IRP owns it.
        let information = unsafe { (*record.raw()).IoStatus.Information };
        let information = usize::try_from(information).unwrap_or(usize::MAX);
        let place = self
            .kernel
            .config
            .locations
            .then(|| callers(1).pop())
            .flatten();
        {
            let mut state = locked(&record.state);
            // An error's output is not copied: severity 3.
            if status.cast_unsigned() >> 30 != 3 {
                let length = information.min(state.output.len());
                let bytes = record.system_bytes(length);
                state.output[..bytes.len()].copy_from_slice(bytes);
            }
            state.completion = Some((status, information));
            state.was_marked = was_marked;
            state.completed_by = match place {
                Some(place) => format!("{} in {place}", self.name()),
                None => self.name().to_owned(),
            };
        }
        self.kernel.io.retire(record);
        self.kernel.sleepers.wake(Wait::Irp(record.address()));
        if let Some(file) = &record.file {
            file.irp_ended(&self.kernel);
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The NTSTATUS.
    pub status: i32,
    /// How many bytes the driver says that it wrote. A request that was refused without pending has no I/O status block
    /// written: then it is 0.
    pub information: usize,
    /// The output buffer.
    pub output: Vec<u8>,
}

/// A request that was sent.
pub struct Request {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) sent: Result<Arc<IrpRecord>, Completion>,
    /// What the dispatch routine returned.
    pub(crate) answer: i32,
}

impl Request {
    /// What the system call returned: `STATUS_PENDING`, or how the request ended.
    #[must_use]
    pub fn answer(&self) -> i32 {
        self.answer
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended().is_some()
    }

    /// How it ended; `None` while it has not.
    #[must_use]
    pub fn ended(&self) -> Option<Completion> {
        let record = match &self.sent {
            Ok(record) => record,
            Err(completion) => return Some(completion.clone()),
        };
        let state = locked(&record.state);
        let (status, information) = state.completion?;
        let refused = self.answer != STATUS_PENDING && status.cast_unsigned() >> 30 == 3;
        Some(Completion {
            status,
            information: if refused { 0 } else { information },
            output: state.output.clone(),
        })
    }

    /// The status that it ended with; `None` while it has not.
    #[must_use]
    pub fn status(&self) -> Option<i32> {
        match &self.sent {
            Ok(record) => locked(&record.state).completion.map(|(status, _)| status),
            Err(completion) => Some(completion.status),
        }
    }

    /// Waits for its end; `None` when it does not come in time, or the system has stopped.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Completion> {
        let Ok(record) = &self.sent else {
            return self.ended();
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("NtWaitForSingleObject");
        let start = Instant::now();
        let deadline = start.checked_add(timeout).unwrap_or(start + LONGEST);
        let wait = Wait::Irp(record.address());
        let completion = call.thread().wait_until(wait, deadline, || self.ended());
        self.kernel.close_deferred(&call);
        completion
    }

    /// Asks for its cancellation; says whether it was still there to be cancelled.
    pub fn cancel(&self) -> bool {
        let Ok(record) = &self.sent else {
            return false;
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("NtCancelIoFileEx");
        if record.is_completed() {
            return false;
        }
        call.cancel_irp(record);
        self.kernel.close_deferred(&call);
        true
    }

    /// `IoCancelIrp` for it; says whether a Cancel routine was called.
    pub fn cancel_irp(&self) -> bool {
        let Ok(record) = &self.sent else {
            return false;
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("IoCancelIrp");
        call.cancel_irp(record)
    }

    /// The first half of `IoCancelIrp`, at its worst: sets `Irp->Cancel` and takes the Cancel routine, without the
    /// cancel spin lock, which is acquired when the routine is [called](Cancelling::finish). So one thread can play
    /// what another one does between the two.
    #[must_use]
    pub fn begin_cancel(&self) -> Cancelling<'_> {
        let _attached = Attached::to(&self.kernel);
        let _call = Call::enter("IoCancelIrp");
        let routine = self.sent.as_ref().ok().and_then(|record| {
            record.set_cancel();
            record.take_cancel_routine()
        });
        Cancelling {
            request: self,
            routine,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

/// An `IoCancelIrp` that has taken the Cancel routine and not called it yet.
pub struct Cancelling<'a> {
    request: &'a Request,
    routine: nt::PDRIVER_CANCEL,
}

impl Cancelling<'_> {
    /// Calls the Cancel routine, if there was one.
    #[must_use]
    pub fn finish(self) -> bool {
        let (Some(routine), Ok(record)) = (self.routine, &self.request.sent) else {
            return false;
        };
        let _attached = Attached::to(&self.request.kernel);
        let call = Call::enter("IoCancelIrp");
        let old_irql = call.acquire_cancel_lock_for_routine();
        call.call_cancel_routine(record, routine, old_irql);
        true
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let call = Call::enter("IoCallDriver");
    let record = call.live_irp(irp);
    call.call_driver(device, &record)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
    let call = Call::enter("IoCompleteRequest");
    let record = call.irp(irp);
    call.complete(&record);
}
