//! The bus driver below a device, which handles the requests that are passed down to it.

use std::sync::{Arc, Mutex, atomic::Ordering};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP_MJ_PNP, IRP_MJ_POWER, NTSTATUS, SL_PENDING_RETURNED,
    STATUS_PENDING, STATUS_SUCCESS,
};
use rustc_hash::FxHashMap;

use crate::{
    host::{Call, thread::Thread},
    io::irp::IrpRecord,
    mutex::locked,
};

/// How a bus driver handles a PnP or power request that it does not complete with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusAnswer {
    /// Completes the request with an error.
    Fail(NTSTATUS),
    /// Returns `STATUS_PENDING`, and completes the request with success later, in another thread at `DISPATCH_LEVEL`.
    Pend,
}

/// The settings that differ from success, by the physical device object and the minor function: for PnP requests, and for power
/// requests.
#[derive(Default)]
pub(crate) struct Buses {
    pnp: Answers,
    power: Answers,
}

type Answers = Mutex<FxHashMap<(usize, u8), BusAnswer>>;

impl Buses {
    /// Sets how the bus driver handles a device's PnP requests of a minor function.
    pub(crate) fn set(&self, pdo: usize, minor: u8, answer: BusAnswer) {
        locked(&self.pnp).insert((pdo, minor), answer);
    }

    /// Sets how the bus driver handles a device's power requests of a minor function.
    pub(crate) fn set_power(&self, pdo: usize, minor: u8, answer: BusAnswer) {
        locked(&self.power).insert((pdo, minor), answer);
    }

    /// Returns how the bus driver handles a PnP request, if it does not complete it with success.
    pub(crate) fn answer(&self, pdo: usize, minor: u8) -> Option<BusAnswer> {
        locked(&self.pnp).get(&(pdo, minor)).copied()
    }

    /// Returns how the bus driver handles a power request, if it does not complete it with success.
    pub(crate) fn power(&self, pdo: usize, minor: u8) -> Option<BusAnswer> {
        locked(&self.power).get(&(pdo, minor)).copied()
    }
}

impl Call {
    /// The dispatch routine of the bus driver. It completes PnP and power requests with success, unless a test has set
    /// another handling.
    pub(in crate::io) fn bus_driver(
        &self,
        pdo: *mut DEVICE_OBJECT,
        record: &Arc<IrpRecord>,
    ) -> NTSTATUS {
        record.reached_bus.store(true, Ordering::Relaxed);
        let irp = record.raw();
        let asked = record.asked();
        let buses = &self.kernel.io().buses;
        let answer = match asked.major {
            IRP_MJ_PNP => buses.answer(pdo.addr(), asked.minor),
            IRP_MJ_POWER => buses.power(pdo.addr(), asked.minor),
            _ => None,
        };
        if matches!(asked.major, IRP_MJ_PNP | IRP_MJ_POWER) {
            let status = match answer {
                Some(BusAnswer::Fail(status)) => status,
                _ => STATUS_SUCCESS,
            };
            // SAFETY: the bus driver owns the IRP.
            unsafe { nt::irp::set_status(irp, status) };
        }
        if answer == Some(BusAnswer::Pend) {
            record.stack().Control |= SL_PENDING_RETURNED;
            let record = Arc::clone(record);
            Thread::new_system(&self.kernel, "bus driver").start(move |_| {
                let call = Call::enter("IoCompleteRequest");
                let old_irql = call.raise_irql(DISPATCH_LEVEL);
                call.complete(&record);
                call.lower_irql(old_irql);
            });
            return STATUS_PENDING;
        }
        // SAFETY: the bus driver owns the IRP.
        let status = unsafe { nt::irp::status(irp) };
        self.complete(record);
        status
    }
}
