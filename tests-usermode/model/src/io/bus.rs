//! The bus driver below a device, which handles the requests that are passed down to it.

use std::{
    mem::MaybeUninit,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicPtr, Ordering},
    },
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, DRIVER_OBJECT, IRP, IRP_MJ_PNP, IRP_MJ_POWER, NTSTATUS,
    SL_PENDING_RETURNED, STATUS_CANCELLED, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING,
    STATUS_SUCCESS, UNICODE_STRING,
};
use rustc_hash::FxHashMap;

use crate::{
    host::{Call, thread::Thread},
    io::irp::{IrpParameters, IrpRecord},
    mutex::locked,
};

/// How a bus driver handles a PnP or power request of a device, if it does not complete it with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusAnswer {
    /// Completes the request with an error.
    Fail(NTSTATUS),
    /// Returns `STATUS_PENDING`, and completes the request with success later, in another thread at `DISPATCH_LEVEL`. It keeps an
    /// `IRP_MN_WAIT_WAKE` until that is cancelled.
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

/// `IRP_MN_WAIT_WAKE`
pub(in crate::io) const IRP_MN_WAIT_WAKE: u8 = 0;

/// The PnP requests that the bus driver handles.
const HANDLED: [u8; 10] = [
    nt::IRP_MN_START_DEVICE,
    nt::IRP_MN_QUERY_REMOVE_DEVICE,
    nt::IRP_MN_REMOVE_DEVICE,
    nt::IRP_MN_CANCEL_REMOVE_DEVICE,
    nt::IRP_MN_STOP_DEVICE,
    nt::IRP_MN_QUERY_STOP_DEVICE,
    nt::IRP_MN_CANCEL_STOP_DEVICE,
    nt::IRP_MN_QUERY_CAPABILITIES,
    // IRP_MN_QUERY_PNP_DEVICE_STATE
    0x14,
    nt::IRP_MN_SURPRISE_REMOVAL,
];

/// The requests that a physical device object of the bus driver fails.
const TRANSFERS: [usize; 4] = [
    nt::IRP_MJ_READ,
    nt::IRP_MJ_WRITE,
    nt::IRP_MJ_DEVICE_CONTROL,
    nt::IRP_MJ_INTERNAL_DEVICE_CONTROL,
];

/// Returns the driver object of the bus driver, which no test loads.
pub(in crate::io) fn driver_object() -> *mut DRIVER_OBJECT {
    static OBJECT: LazyLock<AtomicPtr<DRIVER_OBJECT>> = LazyLock::new(|| {
        let name: Vec<u16> = "\\Driver\\PnpManager\0".encode_utf16().collect();
        // SAFETY: zero is valid for every field.
        let object = unsafe { MaybeUninit::<DRIVER_OBJECT>::zeroed().assume_init() };
        let mut object = Box::new(object);
        object.Type = IO_TYPE_DRIVER;
        object.Size = i16::try_from(size_of::<DRIVER_OBJECT>()).unwrap_or_default();
        object.DriverName = string_of(Box::leak(name.into_boxed_slice()));
        AtomicPtr::new(Box::into_raw(object))
    });
    OBJECT.load(Ordering::Relaxed)
}

/// `IO_TYPE_DRIVER`
pub(in crate::io) const IO_TYPE_DRIVER: i16 = 4;

/// Returns a string of these units, which end with a zero and stay as long as the string is used.
pub(in crate::io) fn string_of(units: &mut [u16]) -> UNICODE_STRING {
    let size = u16::try_from(size_of_val(units)).unwrap_or_default();
    UNICODE_STRING {
        Length: size.saturating_sub(2),
        MaximumLength: size,
        Buffer: units.as_mut_ptr(),
    }
}

/// Returns whether the bus driver handles the PnP requests of a minor function.
pub(in crate::io) fn handles_pnp(minor: u8) -> bool {
    HANDLED.contains(&minor)
}

fn is_wait_wake(parameters: &IrpParameters) -> bool {
    parameters.major == IRP_MJ_POWER && parameters.minor == IRP_MN_WAIT_WAKE
}

/// The Cancel routine of an `IRP_MN_WAIT_WAKE`.
unsafe extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the caller holds the cancel spin lock.
    let irql = unsafe { nt::irp::cancel_irql(irp) };
    // SAFETY: as above.
    unsafe { nt::IoReleaseCancelSpinLock(irql) };
    let call = Call::enter_noted("the Cancel routine of the bus driver");
    let record = call.live_irp(irp);
    call.complete_cancelled(&record);
}

impl Call {
    fn complete_cancelled(&self, record: &Arc<IrpRecord>) {
        // SAFETY: the bus driver owns the IRP.
        unsafe { nt::irp::set_status(record.raw(), STATUS_CANCELLED) };
        self.complete(record);
    }

    /// Keeps an `IRP_MN_WAIT_WAKE` until it is cancelled.
    fn wait_for_wake(&self, record: &Arc<IrpRecord>) -> NTSTATUS {
        record.stack().Control |= SL_PENDING_RETURNED;
        // SAFETY: the bus driver owns the IRP.
        unsafe { nt::irp::IoSetCancelRoutine(record.raw(), Some(cancel)) };
        if record.is_cancelled() && record.take_cancel_routine().is_some() {
            self.complete_cancelled(record);
        }
        STATUS_PENDING
    }

    /// The dispatch routine of the bus driver. It completes the PnP and power requests that it handles with success, unless a test
    /// has set another handling. It completes others with the status that they have, and fails requests for a transfer.
    pub(in crate::io) fn bus_driver(
        &self,
        pdo: *mut DEVICE_OBJECT,
        record: &Arc<IrpRecord>,
    ) -> NTSTATUS {
        record.reached_bus.store(true, Ordering::Relaxed);
        let irp = record.raw();
        let parameters = record.parameters();
        let buses = &self.kernel.io().buses;
        let answer = match parameters.major {
            IRP_MJ_PNP => buses.answer(pdo.addr(), parameters.minor),
            IRP_MJ_POWER => buses.power(pdo.addr(), parameters.minor),
            _ => None,
        };
        let is_handled = match parameters.major {
            IRP_MJ_PNP => handles_pnp(parameters.minor),
            IRP_MJ_POWER => parameters.minor != IRP_MN_WAIT_WAKE,
            _ => false,
        };
        let status = match answer {
            Some(BusAnswer::Fail(status)) => Some(status),
            Some(BusAnswer::Pend) => Some(STATUS_SUCCESS),
            None if is_handled => Some(STATUS_SUCCESS),
            None => TRANSFERS
                .contains(&parameters.major)
                .then_some(STATUS_INVALID_DEVICE_REQUEST),
        };
        if let Some(status) = status {
            // SAFETY: the bus driver owns the IRP.
            unsafe { nt::irp::set_status(irp, status) };
        }
        if (parameters.major, parameters.minor) == (IRP_MJ_PNP, nt::IRP_MN_QUERY_CAPABILITIES) {
            record.give_device_states();
        }
        if answer == Some(BusAnswer::Pend) && is_wait_wake(&parameters) {
            return self.wait_for_wake(record);
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
