//! `PoRequestPowerIrp`: the power requests that the owner of a device's power policy asks for.

use std::{
    ffi::c_void,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_STATUS_BLOCK, IRP, IRP_MJ_POWER, IRP_MN_QUERY_POWER,
    IRP_MN_SET_POWER, NTSTATUS, PREQUEST_POWER_COMPLETE, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER_2, STATUS_NOT_SUPPORTED, STATUS_PENDING,
};

use crate::{
    host::{Call, Kernel, thread::Thread},
    io::{
        BusAnswer,
        device_stack::top_of,
        irp::{Asked, IrpRecord},
    },
    verifier::{BugCheck, Rule},
};

const IRP_MN_WAIT_WAKE: u8 = 0;

/// A request, and what is called when it ends.
struct Requested {
    record: Arc<IrpRecord>,
    device: *mut DEVICE_OBJECT,
    minor: u8,
    state: i32,
    routine: PREQUEST_POWER_COMPLETE,
    context: *mut c_void,
}

// SAFETY: the driver passed the context for use by another thread, and the device object is referenced.
unsafe impl Send for Requested {}

impl Requested {
    /// Sends the request in a thread of the power manager, and calls the driver's routine when it has ended: at `DISPATCH_LEVEL`
    /// if the bus driver completes it later.
    fn run(self, kernel: &Kernel) {
        let call = Call::enter_noted("the power manager");
        let devices = &kernel.io().devices;
        let status = call.send_and_wait(top_of(self.device), &self.record);
        let pdo = devices.pdo_of(self.device.addr()).unwrap_or_default();
        let pdo: *mut DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(pdo);
        if self.minor != IRP_MN_WAIT_WAKE {
            call.verify_power(pdo, &self.record, status);
        }
        if let Some(routine) = self.routine {
            let later = kernel.io().buses.power(pdo.addr(), self.minor) == Some(BusAnswer::Pend);
            let was_sent = self.record.reached_bus.load(Ordering::Relaxed);
            let irql = if later && was_sent { DISPATCH_LEVEL } else { 0 };
            let old_irql = call.raise_irql(irql);
            let mut block = IO_STATUS_BLOCK {
                Status: status,
                Reserved: 0,
                Information: 0,
            };
            let (device, minor, state) = (self.device, self.minor, self.state);
            // SAFETY: the routine is called as the power manager calls it, with what it was passed with.
            unsafe {
                Call::in_driver(
                    routine,
                    (device, minor, state, self.context, &raw mut block),
                );
            };
            call.require_returned("a PowerCompletion routine", irql);
            call.lower_irql(old_irql);
        }
        devices.io_dereference(self.device.addr());
    }
}

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
    let call = Call::enter_noted("PoRequestPowerIrp");
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    call.require_live_device(device);
    let kind = match minor {
        IRP_MN_WAIT_WAKE => 0,
        IRP_MN_SET_POWER | IRP_MN_QUERY_POWER => 1,
        _ => return STATUS_INVALID_PARAMETER_2,
    };
    call.require(
        kind == 0 || (1..=4).contains(&state),
        Rule::PowerState,
        || {
            let what = format!("{state} is no state of a device");
            (BugCheck(0, [0; 4]), what)
        },
    );
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let asked = Asked {
        major: IRP_MJ_POWER,
        minor,
        power: (kind, state.cast_unsigned()),
        ..Asked::default()
    };
    let record = call.new_irp(top_of(device), asked, None, &[], Vec::new());
    // SAFETY: the IRP was not sent yet.
    unsafe { nt::irp::set_status(record.raw(), STATUS_NOT_SUPPORTED) };
    if !irp.is_null() {
        // SAFETY: the caller passes NULL or room for a pointer.
        unsafe { irp.write(record.raw()) };
    }
    let requested = Requested {
        record,
        device,
        minor,
        state,
        routine,
        context,
    };
    call.kernel.io().devices.io_reference(device.addr());
    Thread::new_system(&call.kernel, "power manager").start(|kernel| requested.run(kernel));
    STATUS_PENDING
}
