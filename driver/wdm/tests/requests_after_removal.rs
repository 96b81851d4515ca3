//! A device sends requests to the lower driver while it is removed. After `IRP_MN_REMOVE_DEVICE` was passed down, none arrives there: the
//! lower driver has freed the memory that it would use for them.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Stack, kernel, load, load_filter, status};
use nt::{DEVICE_OBJECT, IRP, NTSTATUS, irp};
use ntmodel::Kernel;
use pinned_init::{PinInit, pin_data, try_pin_init};
use raw::Control;
use wdm::{
    ControlCode, Device, Error, Filter, Handled, Irp, Lower, NewDevice, NewFilter, PassiveLevel,
    PendedIrp, SpinLock, irql::CallerLevel,
};

const CODE: u32 = 0x22_2000;

/// How many requests the lower driver has received.
static RECEIVED: AtomicU32 = AtomicU32::new(0);
/// The results of the upper driver's own requests, one in each call of `remove`.
static RETURNED: Mutex<[Option<Result<usize, Error>>; 2]> = Mutex::new([None; 2]);

/// The lower driver: completes each request.
struct Counts;

impl Control for Counts {
    fn control(irp: *mut IRP) -> NTSTATUS {
        RECEIVED.fetch_add(1, SeqCst);
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

/// The upper driver's device: in each call of `remove` it sends a request of its own, and in the second it forwards the one that it has kept.
#[pin_data]
struct SwitchesOff {
    below: Lower,
    #[pin]
    kept: SpinLock<Option<PendedIrp>>,
}

impl Device for SwitchesOff {
    type File = ();

    fn add(
        device: &mut NewDevice,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let below = Lower::new(device);
        Ok(try_pin_init!(Self { below, kept <- SpinLock::new(None) }? Error))
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.kept.with(irql, |kept, _| *kept = Some(irp));
        handled
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        // SAFETY: the lower driver accesses no memory by the contents of the buffers.
        let code = unsafe { ControlCode::new(CODE) };
        let timeout = Some(Duration::from_secs(1));
        let returned = self
            .below
            .internal_device_control(code, &[], &mut [], timeout, irql);
        let mut all = RETURNED.lock().expect("no test has failed");
        if all[0].is_none() {
            all[0] = Some(returned);
        } else {
            all[1] = Some(returned);
            if let Some(irp) = self.kept.with(irql, |kept, _| kept.take()) {
                irp.forward(irql);
            }
        }
    }
}

#[test]
fn nothing_is_sent_to_the_lower_driver_after_the_removal_was_passed_down() {
    let kernel = kernel();
    let (below, above) = (raw::load::<Counts>(&kernel), load::<SwitchesOff>(&kernel));
    let stack = Stack::new(below).function(above).started();
    let device = &stack.device;
    let kept = device.internal_device_control(CODE, &[], Vec::new());
    device.remove().expect("no file is open");
    assert_eq!(status(&kept), nt::STATUS_DELETE_PENDING);
    let returned = RETURNED.lock().expect("no test has failed");
    assert_eq!(*returned, [Some(Ok(0)), Some(Err(Error::DELETE_PENDING))]);
    assert_eq!(RECEIVED.load(SeqCst), 1);
    stack.unload();
}

/// The lower driver: while it is removed, the system sends requests to the device stack.
struct GetsRequestsDuringRemoval;

/// How many of these requests have reached the lower driver, and how many have ended before that.
static ARRIVED: AtomicU32 = AtomicU32::new(0);
static REFUSED: AtomicU32 = AtomicU32::new(0);

impl Control for GetsRequestsDuringRemoval {
    fn control(irp: *mut IRP) -> NTSTATUS {
        ARRIVED.fetch_add(1, SeqCst);
        raw::complete(irp, nt::STATUS_SUCCESS)
    }

    fn remove(object: *mut DEVICE_OBJECT) {
        // SAFETY: the device object is valid, and the one above is still attached to it.
        let top = unsafe { (*object).AttachedDevice };
        for major in [nt::IRP_MJ_POWER, nt::IRP_MJ_SYSTEM_CONTROL] {
            if send(top, major) == nt::STATUS_DELETE_PENDING {
                REFUSED.fetch_add(1, SeqCst);
            }
        }
    }
}

/// Sends a request as the system does, and returns its status.
fn send(top: *mut DEVICE_OBJECT, major: usize) -> NTSTATUS {
    unsafe extern "C" fn stop(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
        nt::STATUS_MORE_PROCESSING_REQUIRED
    }

    // SAFETY: the device object is valid; so below.
    let stack_size = unsafe { (*top).StackSize };
    // SAFETY: as above.
    let irp = unsafe { nt::IoAllocateIrp(stack_size, 0) };
    // SAFETY: this thread owns the IRP; so below.
    let next = unsafe { nt::IoGetNextIrpStackLocation(irp) };
    // SAFETY: as above.
    unsafe { (*next).MajorFunction = u8::try_from(major).expect("a byte") };
    // SAFETY: as above.
    unsafe { (*next).MinorFunction = nt::IRP_MN_SET_POWER };
    // SAFETY: as above.
    unsafe { irp::set_status(irp, nt::STATUS_NOT_SUPPORTED) };
    // SAFETY: as above.
    unsafe { irp::IoSetCompletionRoutine(irp, Some(stop), null_mut(), true, true, true) };
    // SAFETY: as above.
    unsafe { nt::IofCallDriver(top, irp) };
    // SAFETY: `stop` has stopped the completion.
    let status = unsafe { irp::status(irp) };
    // SAFETY: as above.
    unsafe { nt::IoFreeIrp(irp) };
    status
}

struct PassesOn;

impl Filter for PassesOn {
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

struct Functions;

impl Device for Functions {
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

/// Returns a device stack with only the lower driver.
fn stack_of_lower_driver(kernel: &Arc<Kernel>) -> Stack {
    Stack::new(raw::load::<GetsRequestsDuringRemoval>(kernel))
}

/// Power requests and those of WMI can come at any time: the power manager sends what was requested before the removal. A filter passes a
/// power request on as long as it is attached, since the lower driver may wait for it:
/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-removelockmnremove>
#[test]
fn only_a_filter_passes_power_requests_on_after_the_removal_was_passed_down() {
    let kernels = [kernel(), kernel()];
    let function = stack_of_lower_driver(&kernels[0]).function(load::<Functions>(&kernels[0]));
    let filter = stack_of_lower_driver(&kernels[1]).filter(load_filter::<PassesOn>(&kernels[1]));
    for stack in [function.started(), filter.started()] {
        stack.device.remove().expect("no file is open");
        stack.unload();
    }
    assert_eq!((ARRIVED.load(SeqCst), REFUSED.load(SeqCst)), (1, 3));
}
