//! The record of each request, and the device's counters and statistics.

use interlock_abi::{Counters, PROCESSORS, Pend, Pended, ProcessorStatistics, Statistics};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Error, ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, IrpView, Moment, Node,
    NtStatus, PendedIrp, QueueCallbacks, Shared, SpinLock, ZoneBox,
    irql::{AtMostDispatch, Dispatch, NoSpinLockHeld, ObjectHeld, raise_to_dispatch},
    lock_order::Unlocked,
    processor,
};

use crate::opened::{Charge, Stacked};

/// The record of a request, from its acceptance until it is completed; on a stack until it is popped.
pub struct Record {
    pub pend: Pend,
    pub sequence: u32,
    /// As in [`Pended`]; set when the request is completed.
    pub order: u64,
    accepted: Moment,
    /// Set while the record is on the stack of its open file.
    pub stacked: Option<Stacked>,
    _charge: Charge,
}

/// A record in its block of the device's zone.
pub type Entry = ZoneBox<Node<Record>>;

impl Record {
    /// Makes the record of a request that is not accepted yet.
    pub fn new(pend: Pend, charge: Charge) -> Self {
        Self {
            pend,
            sequence: 0,
            order: 0,
            accepted: Moment::now(),
            stacked: None,
            _charge: charge,
        }
    }

    /// Returns the output of the request.
    pub const fn pended(&self) -> Pended {
        Pended {
            tag: self.pend.tag,
            order: self.order,
            sequence: self.sequence,
            queue: self.pend.queue,
            key: self.pend.key,
            reserved: 0,
        }
    }
}

/// The device's counters and statistics.
#[pin_data]
pub struct Ledger {
    /// The counters, under one spin lock. The field `pending` is not used.
    #[pin]
    counts: SpinLock<Counters>,
    /// Requests that were accepted and are not completed.
    outstanding: InterlockedLong,
    /// Records on the stacks of all open files.
    pub stacked: InterlockedLong,
    #[pin]
    sequence: ExInterlockedUlong,
    #[pin]
    latency: ExInterlockedLargeInteger,
    #[pin]
    longest: SpinLock<i64>,
    processors: [Processor; PROCESSORS],
}

/// The counters of one processor.
struct Processor {
    accepted: InterlockedLong,
    dpcs: InterlockedLong,
}

impl Ledger {
    /// Initialises all counters to zero.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            counts <- SpinLock::new(Counters::default()),
            outstanding: InterlockedLong::new(0),
            stacked: InterlockedLong::new(0),
            sequence <- ExInterlockedUlong::new(0),
            latency <- ExInterlockedLargeInteger::new(0),
            longest <- SpinLock::new(0),
            processors: [const {
                Processor { accepted: InterlockedLong::new(0), dpcs: InterlockedLong::new(0) }
            }; PROCESSORS],
        }? Error)
    }

    /// Accepts a request: counts it and assigns its sequence number.
    pub fn accept<L: NoSpinLockHeld>(&self, record: &mut Record, irql: &mut L) {
        self.outstanding.increment();
        raise_to_dispatch(irql, |irql| {
            self.counts.lock_at_dpc(irql).submitted += 1;
            if let Some(processor) = self.processor(irql) {
                processor.accepted.increment();
            }
        });
        record.sequence = self.sequence.add(1);
    }

    /// Counts a request that was rejected as malformed.
    pub fn reject<L: NoSpinLockHeld>(&self, irql: &mut L) {
        self.counts.with(irql, |counts, _| counts.rejected += 1);
    }

    /// Counts a request that was rejected because the quota of its open file is used up.
    pub fn refuse<L: NoSpinLockHeld>(&self, irql: &mut L) {
        self.counts.with(irql, |counts, _| counts.over_quota += 1);
    }

    /// Counts a DPC.
    pub fn count_dpc<D: Dispatch>(&self, irql: &D) {
        if let Some(processor) = self.processor(irql) {
            processor.dpcs.increment();
        }
    }

    /// Counts a request that succeeds, and returns its order among them.
    pub fn succeed<L: NoSpinLockHeld>(&self, record: &Record, irql: &mut L) -> u64 {
        self.measure(record, irql);
        self.counts.with(irql, |counts, _| {
            counts.completed += 1;
            counts.completed
        })
    }

    /// Completes a pended request with its output.
    pub fn complete<L: NoSpinLockHeld>(&self, irp: PendedIrp<Entry>, irql: &mut L) {
        let order = self.succeed(irp.record(), irql);
        let reply = Pended {
            order,
            ..irp.record().pended()
        };
        irp.complete_with(&reply, irql);
    }

    /// Reads the counters.
    pub fn counters<L: NoSpinLockHeld>(&self, irql: &mut L) -> Counters {
        let pending = u64::try_from(self.outstanding.read()).unwrap_or(0);
        Counters {
            pending,
            ..self.counts.with(irql, |counts, _| *counts)
        }
    }

    /// Returns the statistics, except for those of the zone.
    pub fn statistics<L: NoSpinLockHeld>(&self, irql: &mut L) -> Statistics {
        let mut processor = [ProcessorStatistics::default(); PROCESSORS];
        for (to, from) in processor.iter_mut().zip(&self.processors) {
            to.accepted = from.accepted.read().cast_unsigned();
            to.dpcs = from.dpcs.read().cast_unsigned();
        }
        Statistics {
            latency: self.latency.add(0),
            longest: self.longest.with(irql, |longest, _| *longest),
            records: 0,
            records_in_use: 0,
            stacked: self.stacked.read().cast_unsigned(),
            processors: processor::maximum_count(),
            processor,
        }
    }

    /// Adds a request's latency to the statistics, and counts the request as no longer outstanding.
    #[inline(never)]
    fn measure<L: AtMostDispatch<Held = Unlocked>>(&self, record: &Record, irql: &mut L) {
        let hundreds = i64::try_from(record.accepted.elapsed_units()).unwrap_or(i64::MAX);
        self.latency.add(hundreds);
        self.longest
            .with(irql, |longest, _| *longest = hundreds.max(*longest));
        self.outstanding.decrement();
    }

    /// Returns the counters of the current processor, on which the code stays while the token is borrowed.
    fn processor<D: Dispatch>(&self, irql: &D) -> Option<&Processor> {
        let number = usize::try_from(processor::current(irql)).unwrap_or(usize::MAX);
        self.processors.get(number.min(PROCESSORS - 1))
    }
}

/// The callbacks of the queues: they count the requests that the queues complete.
pub struct Ending(pub Shared<Ledger>);

impl QueueCallbacks for Ending {
    type Record = Entry;

    const LOOKUP: bool = true;

    fn before_completion(&self, irp: &IrpView<Entry>, status: NtStatus, irql: &mut ObjectHeld) {
        self.0.measure(irp.record(), irql);
        self.0.counts.with(irql, |counts, _| {
            if status == NtStatus::CANCELLED {
                counts.cancelled += 1;
            } else {
                counts.aborted += 1;
            }
        });
    }

    fn lookup_key(&self, irp: &IrpView<Entry>) -> u64 {
        irp.record().pend.tag
    }

    fn key(&self, irp: &IrpView<Entry>) -> u32 {
        irp.record().pend.key
    }
}
