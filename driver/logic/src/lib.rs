//! The logic of `interlock.sys`: a device on which requests pend until they are completed or cancelled.
//!
//! What the IOCTLs are and how they answer is told in [`interlock_abi`]. Here they are parsed first,
//! which changes nothing, and then carried out.

#![no_std]
#![forbid(unsafe_code)]

mod accounts;
mod request;

use interlock_abi::{ABI_VERSION, Completed, Counters, INTERFACE_GUID, Pend, Pended, Version};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, FileId, Guid, Handled, Irp, IrpQueue, IrpView, NtStatus, PassiveLevel, PendedIrp,
    RegistryKey,
    log::{self, Level},
};

use crate::{accounts::Accounts, request::Request};

/// The device.
#[pin_data]
pub struct Interlock {
    /// The requests that pend.
    #[pin]
    queue: IrpQueue<Accounts>,
}

impl Device for Interlock {
    const INTERFACE: Guid = Guid::new(
        INTERFACE_GUID.0,
        INTERFACE_GUID.1,
        INTERFACE_GUID.2,
        INTERFACE_GUID.3,
    );

    fn driver_entry(registry: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), NtStatus> {
        // Without the value, or with one that makes no sense, wdm's own limit stands.
        if let Ok(limit) = registry.dword("Parameters", "LogLevel", irql) {
            log::set_limit(limit);
        }
        log::write(
            Level::Info,
            irql,
            format_args!("interlock: loaded, ABI version {ABI_VERSION}"),
        );
        Ok(())
    }

    fn add(_irql: &mut PassiveLevel) -> impl PinInit<Self, NtStatus> {
        try_pin_init!(Self {
            queue <- IrpQueue::new(Accounts::new()),
        }? NtStatus)
    }

    fn device_control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let request = match Request::parse(&irp) {
            Ok(request) => request,
            Err(status) => {
                self.accounts().update(irql, |counts| counts.rejected += 1);
                log::write(
                    Level::Trace,
                    irql,
                    format_args!(
                        "interlock: IOCTL {:#010x} refused with {status:?}",
                        irp.code()
                    ),
                );
                return irp.complete(status, irql);
            }
        };
        match request {
            Request::GetVersion => irp.complete_with(&VERSION, irql),
            Request::Pend => {
                self.accounts().update(irql, |counts| counts.submitted += 1);
                self.queue.insert(irp, irql)
            }
            Request::CompleteOldest { count } => {
                let count = self.complete_oldest(count, irql);
                irp.complete_with(&Completed { count, reserved: 0 }, irql)
            }
            Request::CompleteByTag { tag } => {
                let status = self.complete_by_tag(tag, irql);
                irp.complete(status, irql)
            }
            Request::GetCounters => {
                let counters = self.counters(irql);
                irp.complete_with(&counters, irql)
            }
        }
    }

    fn cleanup(&self, file: FileId, irql: &mut PassiveLevel) {
        self.queue.cleanup(file, irql);
    }

    fn query_remove(&self, irql: &mut PassiveLevel) {
        self.queue.refuse(NtStatus::DELETE_PENDING, irql);
    }

    fn cancel_remove(&self, irql: &mut PassiveLevel) {
        self.queue.accept(irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.queue.purge(NtStatus::DELETE_PENDING, irql);
        let Counters {
            submitted,
            completed,
            cancelled,
            aborted,
            ..
        } = self.counters(irql);
        log::write(
            Level::Info,
            irql,
            format_args!(
                "interlock: removed: {submitted} submitted, {completed} completed, {cancelled} cancelled, \
                 {aborted} aborted"
            ),
        );
    }
}

const VERSION: Version = Version {
    abi: ABI_VERSION,
    major: decimal(env!("CARGO_PKG_VERSION_MAJOR")),
    minor: decimal(env!("CARGO_PKG_VERSION_MINOR")),
    patch: decimal(env!("CARGO_PKG_VERSION_PATCH")),
};

/// The number that Cargo wrote, at compile time.
const fn decimal(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version's parts are numbers"),
    }
}

impl Interlock {
    fn accounts(&self) -> &Accounts {
        self.queue.callbacks()
    }

    /// Completes up to `count` of the requests that pend now, oldest first, and says how many.
    fn complete_oldest(&self, count: u32, irql: &mut PassiveLevel) -> u32 {
        // Requests that come meanwhile are left alone, or the call might never end.
        let pending = self.queue.with_length(irql, |length, _| length);
        let count = count.min(u32::try_from(pending).unwrap_or(u32::MAX));
        for done in 0..count {
            let Some(irp) = self.queue.remove_first(irql) else {
                return done;
            };
            self.complete(irp, irql);
        }
        count
    }

    /// Completes the oldest request that has a tag.
    fn complete_by_tag(&self, tag: u64, irql: &mut PassiveLevel) -> NtStatus {
        match self
            .queue
            .remove_matching(irql, |irp| tag_of(irp) == Some(tag))
        {
            Some(irp) => {
                self.complete(irp, irql);
                NtStatus::SUCCESS
            }
            None => NtStatus::NOT_FOUND,
        }
    }

    /// Completes a request that pended with its reply.
    fn complete(&self, irp: PendedIrp, irql: &mut PassiveLevel) {
        // Only requests with a tag are queued, see `Request::parse`.
        let Some(tag) = tag_of(&irp) else {
            return irp.complete(NtStatus::INTERNAL_ERROR, irql);
        };
        let order = self.accounts().update(irql, |counts| {
            counts.completed += 1;
            counts.completed
        });
        irp.complete_with(&Pended { tag, order }, irql);
    }

    /// Reads the counters and the queue's length, as they were at one moment.
    fn counters(&self, irql: &mut PassiveLevel) -> Counters {
        self.queue.with_length(irql, |length, held| Counters {
            pending: length as u64,
            ..self.accounts().read_at_dpc(held)
        })
    }
}

/// The tag of a request that pends: its input stays in the IRP until it is completed.
fn tag_of(irp: &IrpView) -> Option<u64> {
    irp.input::<Pend>().ok().map(|pend| pend.tag)
}
