//! A filter driver that counts the requests of a device, and pauses it.
//!
//! It can be an upper or a lower filter of any device; the INF determines which. It forwards every request, and counts opens,
//! transfers, their bytes and failed requests. A program reads the counts through a handle of the device, with a device control
//! that the filter completes itself. With others it pauses the device: reads and writes wait in the filter until it is resumed.
//!
//! It corresponds to the sample `general/toaster/filter` of the WDK for Windows Server 2003, which has about 1,000 lines. That
//! one forwards everything and counts nothing. It has a control device, by which a program can reach the filter without an
//! open of the device; `GET_COUNTERS` takes its place here. It prints the name of each PnP request in a checked build. All
//! its handling of PnP requests is in `wdm`.

#![no_std]
#![forbid(unsafe_code)]

use wdm::{
    CompletionObserver, CompletionRoutine, Error, FileIrp, Filter, Handled, InterlockedLong,
    InterlockedLong64, Irp, IrpQueue, IrpView, MajorFunction, NewFilter, NtStatus, PassiveLevel,
    PendedIrp, PinInit, QueueCallbacks, Returned, Shared, WorkItem, WorkItemRoutine,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::{CallerLevel, NoSpinLockHeld, ObjectHeld},
};

/// Returns the counts as five numbers of 64 bits: opens, transfers that succeeded, their bytes, transfers that failed, and the bytes of
/// the longest one that succeeded.
///
/// The function is high, since the device's own driver must not use it.
pub const GET_COUNTERS: u32 = ctl_code(UNKNOWN_DEVICE, 0xfff, Method::Buffered, Access::Any);

/// Keeps reads and writes in the filter.
pub const PAUSE: u32 = ctl_code(UNKNOWN_DEVICE, 0xffe, Method::Buffered, Access::Any);

/// Forwards the reads and writes that wait, and those that follow.
pub const RESUME: u32 = ctl_code(UNKNOWN_DEVICE, 0xffd, Method::Buffered, Access::Any);

/// The counts of the requests of the device.
struct Counters {
    opens: InterlockedLong64,
    transfers: InterlockedLong64,
    bytes: InterlockedLong64,
    failed: InterlockedLong64,
    longest: InterlockedLong64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            opens: InterlockedLong64::new(0),
            transfers: InterlockedLong64::new(0),
            bytes: InterlockedLong64::new(0),
            failed: InterlockedLong64::new(0),
            longest: InterlockedLong64::new(0),
        }
    }

    /// Counts a transfer that the device's driver has completed.
    fn count(irp: &Returned<PendedIrp<Shared<Self>>>) {
        let counters = irp.record();
        if irp.result().is_err() {
            counters.failed.increment();
            return;
        }
        counters.transfers.increment();
        let bytes = i64::try_from(irp.information()).unwrap_or(0);
        counters.bytes.exchange_add(bytes);
        // Another transfer may end between the read and the exchange.
        let mut longest = counters.longest.read();
        while longest < bytes {
            let old = counters.longest.compare_exchange(bytes, longest);
            if old == longest {
                break;
            }
            longest = old;
        }
    }
}

struct Counting;

impl CompletionObserver for Counting {
    type Record = Shared<Counters>;

    fn run(irp: &Returned<PendedIrp<Shared<Counters>>>, _: &mut CallerLevel) {
        Counters::count(irp);
    }
}

impl CompletionRoutine for Counting {
    type Record = Shared<Counters>;

    fn run(irp: Returned<PendedIrp<Shared<Counters>>>, irql: &mut CallerLevel) {
        Counters::count(&irp);
        irp.complete(irql);
    }
}

/// The transfers that wait while the device is paused. A transfer that is cancelled there counts as failed.
struct Waiting;

impl QueueCallbacks for Waiting {
    type Record = Shared<Counters>;

    fn before_completion(&self, irp: &IrpView<Shared<Counters>>, _: NtStatus, _: &mut ObjectHeld) {
        irp.record().failed.increment();
    }
}

struct Gate {
    is_paused: InterlockedLong,
    waiting: Shared<IrpQueue<Waiting>>,
}

impl WorkItemRoutine for Gate {
    fn run(gate: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while gate.is_paused.read() == 0
            && let Some(irp) = gate.waiting.remove_first(irql)
        {
            irp.forward_with_routine::<Counting>(irql);
        }
    }
}

/// The device.
pub struct Meter {
    counters: Shared<Counters>,
    gate: Shared<WorkItem<Gate>>,
}

impl Meter {
    fn resume(&self, irql: &mut impl NoSpinLockHeld) {
        self.gate.is_paused.exchange(0);
        WorkItem::queue(&self.gate, irql);
    }

    fn transfer<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        let irp = irp.with_record(self.counters.clone());
        if self.gate.is_paused.read() == 0 {
            return irp.forward_with_observer::<Counting>(irql);
        }
        let pending = self.gate.waiting.insert(irp, irql);
        // The device may have been resumed before the request was on the queue.
        if self.gate.is_paused.read() == 0 {
            WorkItem::queue(&self.gate, irql);
        }
        pending
    }
}

impl Filter for Meter {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let counters = Shared::new(Counters::new(), device, irql)?;
        let gate = Gate {
            is_paused: InterlockedLong::new(0),
            waiting: IrpQueue::new(Waiting, device, irql)?,
        };
        let gate = WorkItem::new(Ok::<_, Error>(gate), device, irql)?;
        Ok(Ok::<_, Error>(Self { counters, gate }))
    }

    /// A device that was stopped is not paused when it is started again.
    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        self.resume(irql);
        Ok(())
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.major() != MajorFunction::Create {
            return irp.forward(irql);
        }
        let opened = irp.forward_and_wait(irql);
        if opened.result().is_ok() {
            self.counters.opens.increment();
        }
        opened.complete(irql)
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Read | MajorFunction::Write => self.transfer(irp, irql),
            MajorFunction::DeviceControl if irp.code() == PAUSE => {
                self.gate.is_paused.exchange(1);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            MajorFunction::DeviceControl if irp.code() == RESUME => {
                self.resume(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            MajorFunction::DeviceControl if irp.code() == GET_COUNTERS => {
                let Counters {
                    opens,
                    transfers,
                    bytes,
                    failed,
                    longest,
                } = &*self.counters;
                let counts =
                    [opens, transfers, bytes, failed, longest].map(InterlockedLong64::read);
                irp.complete_with(&counts, irql)
            }
            _ => irp.forward(irql),
        }
    }
}
