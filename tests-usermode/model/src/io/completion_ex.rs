//! `IoSetCompletionRoutineEx`, whose completion routine keeps its driver loaded until it has returned.

use std::{
    ffi::c_void,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP, NTSTATUS, PIO_COMPLETION_ROUTINE,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};

use crate::{host::Call, io::irp::IrpRecord, verifier::Rule};

/// The number of registered routines that have not run.
#[derive(Default)]
pub(crate) struct CompletionsEx(AtomicUsize);

/// A routine that is registered.
struct RegisteredRoutine {
    device: *mut DEVICE_OBJECT,
    routine: unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS,
    context: *mut c_void,
    on_success: bool,
    on_error: bool,
    on_cancel: bool,
}

impl RegisteredRoutine {
    /// Returns whether the driver's routine is called for an IRP.
    fn is_wanted(&self, call: &Call, irp: *mut IRP) -> bool {
        // SAFETY: the completion owns the IRP.
        let status = unsafe { nt::irp::status(irp) };
        let is_cancelled = call.irp(irp).is_cancelled();
        let by_status = if status >= 0 {
            self.on_success
        } else {
            self.on_error
        };
        by_status || (self.on_cancel && is_cancelled)
    }
}

/// The completion routine in the stack location. It is called for every status, so that the memory of the registration is freed.
unsafe extern "C" fn completed(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    registered: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_noted("IoCompleteRequest");
    // SAFETY: `IoSetCompletionRoutineEx` has made the value, and the completion calls the routine once.
    let registered = unsafe { Box::from_raw(registered.cast::<RegisteredRoutine>()) };
    let answer = if registered.is_wanted(&call, irp) {
        let arguments = (device, irp, registered.context);
        // SAFETY: the routine is called as the I/O manager calls it, with what it was registered with.
        unsafe { Call::in_driver(registered.routine, arguments) }
    } else {
        // SAFETY: the completion owns the IRP.
        let is_pending = unsafe { nt::irp::pending_returned(irp) };
        if is_pending && !device.is_null() {
            // SAFETY: as above.
            unsafe { nt::irp::IoMarkIrpPending(irp) };
        }
        STATUS_SUCCESS
    };
    let io = call.kernel.io();
    io.devices.io_dereference(registered.device.addr());
    io.completions_ex.0.fetch_sub(1, Ordering::SeqCst);
    answer
}

impl Call {
    /// Stops the system if the device object does not belong to the driver that has the IRP. The I/O manager would keep the wrong driver
    /// loaded, and the driver with the routine could be unloaded.
    fn require_device_of(&self, record: &IrpRecord, device: *mut DEVICE_OBJECT) {
        if !record.has_location() || record.device().is_null() {
            return;
        }
        let devices = &self.kernel.io().devices;
        let is_own = devices.driver_of(device) == devices.driver_of(record.device());
        let rule = Rule::IoSetCompletionRoutineExCheckDeviceObject;
        self.require(is_own, rule, || {
            format!(
                "a completion routine for {record} is registered with the device object {device:?} of another driver, so the driver with \
                 the routine can be unloaded before the routine has run: pass a device object of the driver with the routine"
            )
        });
    }

    /// Stops the system if a driver that is unloaded has registered a completion routine and not sent the IRP.
    pub(in crate::io) fn require_completions_ex_ran(&self) {
        let left = self.kernel.io().completions_ex.0.load(Ordering::SeqCst);
        self.require(left == 0, Rule::IoSetCompletionExCompleteIrp, || {
            format!(
                "the driver is unloaded, and {left} routines of IoSetCompletionRoutineEx were not called: the memory of a registration is \
                 freed after the call of its routine, so send the IRP with IoCallDriver"
            )
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutineex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoSetCompletionRoutineEx(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    routine: PIO_COMPLETION_ROUTINE,
    context: *mut c_void,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> NTSTATUS {
    let call = Call::enter_noted("IoSetCompletionRoutineEx").at_most(DISPATCH_LEVEL);
    call.require_live_device(device);
    call.require_device_of(&call.live_irp(irp), device);
    let Some(routine) = routine else {
        return nt::STATUS_INVALID_PARAMETER;
    };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let io = call.kernel.io();
    io.devices.io_reference(device.expose_provenance());
    io.completions_ex.0.fetch_add(1, Ordering::SeqCst);
    let registered = Box::new(RegisteredRoutine {
        device,
        routine,
        context,
        on_success: on_success != 0,
        on_error: on_error != 0,
        on_cancel: on_cancel != 0,
    });
    let context = Box::into_raw(registered).cast();
    // SAFETY: the caller owns the IRP, which has a location for the lower driver.
    unsafe {
        nt::irp::IoSetCompletionRoutine(irp, Some(completed), context, true, true, true);
    }
    STATUS_SUCCESS
}
