//! The logic of `interlock.sys`. Requests wait on its queues until they are completed, served or cancelled; other
//! requests run one NT routine each.
//!
//! [`interlock_abi`] documents the IOCTLs and their results. A request is first parsed, without side effects, and
//! then handled.

#![no_std]
#![forbid(unsafe_code)]
#![debugger_visualizer(natvis_file = "../interlock.natvis")]

mod draining;
mod ledger;
mod opened;
mod request;
mod routine;
mod serving;

use interlock_abi::{
    ABI_VERSION, Call, CallResult, Completed, Counters, INTERFACE_GUID, Pend, Routine, RunState,
    Statistics, Version, queue,
};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, DeviceObject, Dpc, Error, Guid, Handled, InterlockedLong, Irp, IrpQueue, IrpView,
    NewDevice, Node, NtStatus, PassiveLevel, QueueCallbacks, RegistryKey, Shared, StartIoOrder,
    Timer, Zone,
    log::{self, Level, Part},
};

use crate::{
    draining::Draining,
    ledger::{Ending, Entry, Ledger, Record},
    opened::{Charge, Opened},
    request::Request,
    serving::Serving,
};

/// The device.
#[pin_data]
pub struct Interlock {
    object: DeviceObject,
    ledger: Shared<Ledger>,
    /// The records of all requests that are pending or on a stack.
    zone: Zone<Node<Record>>,
    run_state: InterlockedLong,
    fifo: Shared<IrpQueue<Ending>>,
    #[pin]
    keyed: Timer<Serving>,
    #[pin]
    serial: Timer<Serving>,
    #[pin]
    interlocked: Dpc<Draining>,
    /// Requests that run `IoSetCancelRoutine`.
    cancelable: Shared<IrpQueue<Alone>>,
}

/// The number of records in each of the zone's two initial segments, and the largest number of records in the zone.
const RECORDS: u32 = 64;
const MAX_RECORDS: u32 = 1 << 20;

/// The maximum number of records by which the zone grows at a time, since its lock is held while they are linked.
const MAX_NEW_RECORDS: u32 = 256;

impl Device for Interlock {
    const INTERFACE: Guid = Guid::new(
        INTERFACE_GUID.0,
        INTERFACE_GUID.1,
        INTERFACE_GUID.2,
        INTERFACE_GUID.3,
    );

    type File = Opened;

    fn driver_entry(registry: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), Error> {
        // Without the value, or if it is not a REG_DWORD, wdm's default limit applies.
        if let Ok(limit) = registry.dword("Parameters", "LogLevel", irql) {
            log::set_limit(limit);
        }
        log::write(
            Level::Info,
            irql,
            &["interlock: loaded, ABI version ".into(), ABI_VERSION.into()],
        );
        Ok(())
    }

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let ledger = Shared::new(Ledger::new(), device, irql)?;
        let zone = Zone::new(RECORDS, &[RECORDS], irql)?;
        let fifo = IrpQueue::new(Ending(ledger.clone()), device, irql)?;
        let cancelable = IrpQueue::new(Alone, device, irql)?;
        let keyed = Serving::new(StartIoOrder::Key, &ledger, device, irql)?;
        let serial = Serving::new(StartIoOrder::Arrival, &ledger, device, irql)?;
        let interlocked = Draining::new(&ledger, device, irql)?;
        let object = DeviceObject::clone(device);
        Ok(try_pin_init!(Self {
            object,
            fifo,
            keyed <- keyed,
            serial <- serial,
            interlocked <- interlocked,
            cancelable,
            run_state: InterlockedLong::new(0),
            zone,
            ledger,
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        opened: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match Request::parse(&irp) {
            Ok(request) => self.handle(request, irp, opened, irql),
            Err(status) => {
                self.ledger.reject(irql);
                log::write(
                    Level::Trace,
                    irql,
                    &[
                        "interlock: IOCTL ".into(),
                        Part::Hex(irp.code()),
                        " rejected with NTSTATUS ".into(),
                        status.into(),
                    ],
                );
                irp.complete(status, irql)
            }
        }
    }

    fn cleanup(&self, opened: &Opened, _irql: &mut PassiveLevel) {
        while opened.pop().is_some() {}
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        let Counters {
            submitted,
            completed,
            cancelled,
            aborted,
            ..
        } = self.ledger.counters(irql);
        log::write(
            Level::Info,
            irql,
            &[
                "interlock: removed: ".into(),
                submitted.into(),
                " submitted, ".into(),
                completed.into(),
                " completed, ".into(),
                cancelled.into(),
                " cancelled, ".into(),
                aborted.into(),
                " aborted".into(),
            ],
        );
    }
}

const VERSION: Version = Version {
    abi: ABI_VERSION,
    major: decimal(env!("CARGO_PKG_VERSION_MAJOR")),
    minor: decimal(env!("CARGO_PKG_VERSION_MINOR")),
    patch: decimal(env!("CARGO_PKG_VERSION_PATCH")),
};

/// Parses a number from Cargo's environment variables at compile time.
const fn decimal(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("the parts of a version are numbers"),
    }
}

impl Interlock {
    fn handle<'irp>(
        &self,
        request: Request,
        irp: Irp<'irp>,
        opened: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match request {
            Request::GetVersion => irp.complete_with(&VERSION, irql),
            Request::Pend(pend) => self.pend(&pend, irp, opened, irql),
            Request::CompleteOldest { count } => {
                let count = self.complete_oldest(count, irql);
                irp.complete_with(&Completed { count, reserved: 0 }, irql)
            }
            Request::CompleteByTag { tag } => {
                let status = self.complete_by_tag(tag, irql);
                irp.complete(status, irql)
            }
            Request::GetCounters => {
                let counters = self.ledger.counters(irql);
                irp.complete_with(&counters, irql)
            }
            Request::GetStatistics => self.complete_with_statistics(irp, irql),
            Request::Pop => match opened.pop() {
                Some(entry) => {
                    let pended = entry.pended();
                    // The record is freed before the request is completed, so that its sender finds it freed.
                    drop(entry);
                    irp.complete_with(&pended, irql)
                }
                None => irp.complete(NtStatus::NOT_FOUND, irql),
            },
            Request::SetRunState(RunState { state, .. }) => {
                let old = self.run_state.exchange(state.cast_signed());
                let old = RunState {
                    state: old.cast_unsigned(),
                    reserved: 0,
                };
                irp.complete_with(&old, irql)
            }
            Request::RunThreads(run) => match routine::run_threads(&run, irql) {
                Ok(ran) => irp.complete_with(&ran, irql),
                Err(status) => irp.complete(status, irql),
            },
            Request::Call(Routine::IoSetCancelRoutine, call) => {
                self.call_cancelable(&call, irp, irql)
            }
            Request::Call(routine, call) => Self::call(routine, &call, irp, irql),
        }
    }

    /// Accepts a request and inserts it into the queue that it names.
    fn pend<'irp>(
        &self,
        pend: &Pend,
        irp: Irp<'irp>,
        opened: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if self.run_state.read() != RunState::RUNNING.cast_signed() {
            return irp.complete(NtStatus::DEVICE_NOT_READY, irql);
        }
        let mut entry = match self.allocate(*pend, opened, irql) {
            Ok(entry) => entry,
            Err(error) => {
                if error == Error::QUOTA_EXCEEDED {
                    self.ledger.refuse(irql);
                }
                return irp.complete(error, irql);
            }
        };
        self.ledger.accept(&mut entry, irql);
        match pend.queue {
            queue::KEYED => Serving::submit(&self.keyed, irp.with_record(entry), irql),
            queue::SERIAL => Serving::submit(&self.serial, irp.with_record(entry), irql),
            queue::INTERLOCKED => Draining::submit(&self.interlocked, irp.with_record(entry), irql),
            queue::STACK => {
                entry.order = self.ledger.succeed(&entry, irql);
                let pended = entry.pended();
                opened.push(entry, &self.ledger);
                irp.complete_with(&pended, irql)
            }
            _ => self.fifo.insert(irp.with_record(entry), irql),
        }
    }

    /// Allocates a record for an open file from the zone, which is extended if it has no free block.
    fn allocate(
        &self,
        pend: Pend,
        opened: &Opened,
        irql: &mut PassiveLevel,
    ) -> Result<Entry, Error> {
        loop {
            let record = Record::new(pend, Charge::new(&opened.records)?);
            if let Some(entry) = self.zone.allocate(Node::new(record)) {
                return Ok(entry);
            }
            let blocks = self.zone.blocks();
            if blocks >= MAX_RECORDS {
                return Err(Error::INSUFFICIENT_RESOURCES);
            }
            self.zone.extend(blocks.min(MAX_NEW_RECORDS), irql)?;
        }
    }

    /// Completes up to `count` of the requests that are on *fifo* now, oldest first, and returns how many it
    /// completed.
    fn complete_oldest(&self, count: u32, irql: &mut PassiveLevel) -> u32 {
        // Requests that arrive during the call are not completed, since the call might never return otherwise.
        let waiting = self.fifo.length(irql);
        let count = count.min(u32::try_from(waiting).unwrap_or(u32::MAX));
        for done in 0..count {
            let Some(irp) = self.fifo.remove_first(irql) else {
                return done;
            };
            self.ledger.complete(irp, irql);
        }
        count
    }

    /// Completes the oldest request on *fifo* with a tag.
    fn complete_by_tag(&self, tag: u64, irql: &mut PassiveLevel) -> NtStatus {
        match self.fifo.remove_by_key(tag, irql) {
            Some(irp) => {
                self.ledger.complete(irp, irql);
                NtStatus::SUCCESS
            }
            None => NtStatus::NOT_FOUND,
        }
    }

    /// Completes a request with the statistics.
    // Without inlining, they are not part of the stack frame for every request.
    #[inline(never)]
    fn complete_with_statistics<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let statistics = Statistics {
            records: self.zone.blocks(),
            records_in_use: self.zone.in_use(),
            ..self.ledger.statistics(irql)
        };
        irp.complete_with(&statistics, irql)
    }

    /// Runs a routine and completes the request with its result.
    // Without inlining, the result is not part of the stack frame for every request.
    #[inline(never)]
    fn call<'irp>(
        routine: Routine,
        call: &Call,
        irp: Irp<'irp>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let mut result = CallResult::default();
        match routine::run(routine, call, &mut result, irql) {
            Ok(()) => irp.complete_with(&result, irql),
            Err(status) => irp.complete(status, irql),
        }
    }

    /// Runs `IoSetCancelRoutine` on the request's own IRP; see [`Routine::IoSetCancelRoutine`].
    fn call_cancelable<'irp>(
        &self,
        call: &Call,
        irp: Irp<'irp>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let pending = self.cancelable.insert(irp, irql);
        if call.argument == 0 {
            // Removes any request of this kind, since they all have the same result. A request that is cancelled at
            // the same time is not found; its Cancel routine completes it.
            let stays = |irp: &IrpView| irp.input::<Call>().is_ok_and(|call| call.argument != 0);
            if let Some(irp) = self.cancelable.remove_matching(irql, |irp| !stays(irp)) {
                let returned = CallResult {
                    found: 1,
                    ..CallResult::default()
                };
                irp.complete_with(&returned, irql);
            }
        }
        pending
    }
}

/// The callbacks for requests that run `IoSetCancelRoutine`. They have no record.
struct Alone;

impl QueueCallbacks for Alone {
    type Record = ();
}
