//! The I/O manager: sends IRPs to drivers, sees what becomes of them, and tells whoever waits.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nt::{DEVICE_OBJECT, DISPATCH_LEVEL, IRP, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING};

use crate::{
    Rule,
    bug_check::BugCheck,
    bus::Buses,
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
    pub(crate) buses: Buses,
    /// The device that gets a PnP request while AddDevice runs, by its physical device object, and the minor function.
    pub(crate) probe: Mutex<Option<(usize, u8)>>,
    /// The PnP requests that are under way, by the physical device objects.
    pub(crate) pnp: Mutex<HashMap<usize, Arc<IrpRecord>>>,
    /// The zones that were initialised, by their addresses.
    pub(crate) zones: Mutex<HashSet<usize>>,
    /// Files whose last IRP has ended at too high an IRQL to send `IRP_MJ_CLOSE`.
    deferred: Mutex<Vec<Arc<FileInner>>>,
}

#[derive(Default)]
struct Irps {
    by_address: HashMap<usize, Arc<IrpRecord>>,
    /// Those that have not ended, by their files' addresses and in the order in which they were sent.
    of_files: BTreeMap<(usize, u32), Arc<IrpRecord>>,
    completed: VecDeque<usize>,
}

impl Io {
    pub(crate) fn find(&self, address: usize) -> Option<Arc<IrpRecord>> {
        locked(&self.irps).by_address.get(&address).cloned()
    }

    fn add(&self, record: &Arc<IrpRecord>) {
        let mut irps = locked(&self.irps);
        irps.by_address.insert(record.address(), Arc::clone(record));
        if let Some(place) = record.place() {
            irps.of_files.insert(place, Arc::clone(record));
        }
    }

    pub(crate) fn retire(&self, record: &IrpRecord) {
        let mut irps = locked(&self.irps);
        if let Some(place) = record.place() {
            irps.of_files.remove(&place);
        }
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
        let file = Arc::as_ptr(file).addr();
        let irps = locked(&self.irps);
        let of_file = irps.of_files.range((file, 0)..=(file, u32::MAX));
        let live = of_file.filter(|(_, record)| !record.is_completed());
        live.map(|(_, record)| Arc::clone(record)).collect()
    }

    pub(crate) fn defer(&self, file: Arc<FileInner>) {
        locked(&self.deferred).push(file);
    }

    pub(crate) fn take_deferred(&self) -> Vec<Arc<FileInner>> {
        std::mem::take(&mut *locked(&self.deferred))
    }
}

impl Call {
    /// Makes an IRP for the driver of a device object.
    pub(crate) fn new_irp(
        &self,
        device: *mut DEVICE_OBJECT,
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
        // SAFETY: the memory of a device object stays as long as the kernel.
        let stack_size = unsafe { (*device).StackSize };
        let record = IrpRecord::new(number, stack_size, asked, self.number, file, input, output);
        io.add(&record);
        record
    }

    /// Sends an IRP to the driver of a device object, and gives what its dispatch routine returned.
    pub(crate) fn send(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        let status = self.call_driver(device, record);
        record.has_returned.store(true, Ordering::Relaxed);
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
    pub(crate) fn call_driver(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        self.verify_sent(device, record);
        let irp = record.raw();
        let location = record.current();
        record.leave(location, None);
        let Some(driver) = self.kernel.io.devices.driver_of(device) else {
            return self.bus_driver(device, record);
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
        let outer = locked(&self.passed).take();
        // SAFETY: the routine is called as the I/O manager calls it.
        let status = Call::in_driver(|| unsafe { routine(device, irp) });
        let passed = std::mem::replace(&mut *locked(&self.passed), outer);
        let now = self.irql();
        let holds = !locked(&self.held).is_empty();
        self.require(now == irql || holds, Rule::IrqlReturn, || {
            let parameters = [device.addr() as u64, irql.into(), now.into()];
            let what =
                format!("a dispatch routine was called at IRQL {irql} and has returned at {now}");
            (BugCheck::io(5, parameters), what)
        });
        self.require_returned("a dispatch routine", irql);
        let passed = passed.filter(|(passed, _)| *passed == record.address());
        self.verify_answer(record, location, passed.map(|(_, status)| status), status);
        status
    }

    /// Looks at an IRP that is sent to a device object, and gives the driver of that its stack location.
    fn verify_sent(&self, device: *mut DEVICE_OBJECT, record: &IrpRecord) {
        let irp = record.raw();
        let irql = self.irql();
        let is_device_io = matches!(
            record.asked.major,
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_POWER
        );
        let highest = if is_device_io { DISPATCH_LEVEL } else { 1 };
        self.require(irql <= highest, Rule::ForwardedAtBadIrql, || {
            // Above DISPATCH_LEVEL no IRP is sent; the other code is for one that may not be sent there.
            let bug_check = if irql > DISPATCH_LEVEL {
                BugCheck::io(0x10, [irql.into(), 0, 0])
            } else {
                BugCheck::io(0x23a, [0, irp.addr() as u64, 0])
            };
            (bug_check, format!("{record} is sent at IRQL {irql}"))
        });
        self.require(!device.is_null(), Rule::Pointer, || {
            let bug_check = BugCheck::io(0x204, [0, irp.addr() as u64, 0]);
            (
                bug_check,
                format!("{record} is sent to NULL, not to a device object"),
            )
        });
        let devices = &self.kernel.io.devices;
        self.require(devices.is_known(device), Rule::Pointer, || {
            let bug_check = BugCheck::io(4, [device.addr() as u64, 0, 0]);
            (
                bug_check,
                format!("{record} is sent to {device:?}, which is no device object"),
            )
        });
        self.require(!devices.is_gone(device), Rule::Pointer, || {
            let bug_check = BugCheck(0x50, [device.addr() as u64, 0, 0, 0]);
            let what = format!("{record} is sent to the device object {device:?}, which is gone");
            (bug_check, what)
        });
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
        let called = call.cancel_irp(record);
        self.kernel.close_deferred(&call);
        called
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
        self.request.kernel.close_deferred(&call);
        true
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let call = Call::enter("IoCallDriver");
    let record = call.live_irp(irp);
    let status = call.call_driver(device, &record);
    *locked(&call.passed) = Some((record.address(), status));
    if record.asked.major == nt::IRP_MJ_PNP {
        locked(&record.state).passed_to.push(device.addr());
    }
    status
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
    let call = Call::enter("IoCompleteRequest");
    let record = call.irp(irp);
    call.complete(&record);
}
