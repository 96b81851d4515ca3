//! Power requests that a driver requests from the power manager.

use std::{ffi::c_void, sync::Arc};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_STATUS_BLOCK, IRP, IRP_MJ_POWER, IRP_MN_QUERY_POWER,
    IRP_MN_SET_POWER, NTSTATUS, PREQUEST_POWER_COMPLETE, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NOT_SUPPORTED, STATUS_PENDING,
};

use crate::{
    host::{Call, thread::Thread},
    io::{
        BusAnswer,
        bus::IRP_MN_WAIT_WAKE,
        device_stack::top_of,
        irp::{IrpParameters, IrpRecord},
    },
    mutex::locked,
    verifier::Rule,
};

const STATUS_INVALID_PARAMETER_2: NTSTATUS = 0xc000_00f0_u32.cast_signed();

/// A request, and the status that its sender receives when it is completed.
struct PowerRequest {
    record: Arc<IrpRecord>,
    top: *mut DEVICE_OBJECT,
    device: *mut DEVICE_OBJECT,
    routine: PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
}

// SAFETY: the driver passes the context for use by another thread, and its device object stays until the request has ended.
unsafe impl Send for PowerRequest {}

impl PowerRequest {
    fn run(self, call: &Call) {
        let IrpParameters { minor, power, .. } = self.record.parameters();
        let pdo = call.kernel.io().devices.pdo_of(self.top.addr());
        let pdo = pdo.unwrap_or_default();
        let status = call.send_and_wait(self.top, &self.record);
        call.verify_power(pdo, &self.record, status);
        let by_bus = call.kernel.io().buses.power(pdo, minor);
        let completion = locked(&self.record.state).completion;
        if let (Some(routine), Some((status, information))) = (self.routine, completion) {
            let mut block = IO_STATUS_BLOCK {
                Status: status,
                Reserved: 0,
                Information: information as u64,
            };
            // If the bus driver completes it later, it does so at DISPATCH_LEVEL.
            let is_raised = by_bus == Some(BusAnswer::Pend);
            let level = if is_raised { DISPATCH_LEVEL } else { 0 };
            let old_irql = call.raise_irql(level);
            let state = power.1.cast_signed();
            let arguments = (self.device, minor, state, self.context, &raw mut block);
            // SAFETY: the routine is called as the power manager calls it.
            unsafe { Call::in_driver(routine, arguments) };
            call.require_returned("a PowerCompletion routine", level);
            call.lower_irql(old_irql);
        }
        call.kernel.work_ended();
    }
}

/// The request is sent by another thread, as Windows may do.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-porequestpowerirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoRequestPowerIrp(
    device: *mut DEVICE_OBJECT,
    minor: u8,
    state: i32,
    routine: PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
    irp: *mut *mut IRP,
) -> NTSTATUS {
    let call = Call::enter("PoRequestPowerIrp").at_most(DISPATCH_LEVEL);
    call.require_live_device(device);
    if !matches!(
        minor,
        IRP_MN_QUERY_POWER | IRP_MN_SET_POWER | IRP_MN_WAIT_WAKE
    ) {
        return STATUS_INVALID_PARAMETER_2;
    }
    // PowerSystemShutdown and PowerDeviceD3
    let is_wait = minor == IRP_MN_WAIT_WAKE;
    let (last, name) = if is_wait {
        (6, "SYSTEM")
    } else {
        (4, "DEVICE")
    };
    call.require((1..=last).contains(&state), Rule::PowerState, || {
        format!("{state} is no {name}_POWER_STATE, which a driver requests")
    });
    call.require(is_wait || irp.is_null(), Rule::PowerState, || {
        "the parameter Irp is not NULL, but the IRP may have been freed when PoRequestPowerIrp returns: pass NULL"
    });
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let parameters = IrpParameters {
        power: (1, state.cast_unsigned()),
        ..IrpParameters::new(IRP_MJ_POWER, minor)
    };
    let top = top_of(device);
    let record = call.new_irp(top, parameters, None, &[], Vec::new());
    // SAFETY: the IRP was not sent yet.
    unsafe { nt::irp::set_status(record.raw(), STATUS_NOT_SUPPORTED) };
    if !irp.is_null() {
        // SAFETY: the caller passes memory for the pointer, with which it cancels the request.
        unsafe { irp.write(record.raw()) };
    }
    let requested = PowerRequest {
        record,
        top,
        device,
        routine,
        context,
    };
    call.kernel.work_began();
    Thread::new_system(&call.kernel, "power manager").start(move |_| {
        requested.run(&Call::enter("the power manager"));
    });
    call.switch_after(call.routine(), device);
    STATUS_PENDING
}
