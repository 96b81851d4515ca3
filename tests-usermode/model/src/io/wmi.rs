//! The registration of WMI data providers. In the model no program asks a provider for data: a test sends requests for another one, which
//! the drivers of a device pass down.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iowmiregistrationcontrol)

use std::sync::atomic::Ordering;

use nt::{
    DEVICE_OBJECT, IRP_MJ_SYSTEM_CONTROL, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
};

use crate::{
    host::{Call, thread::Attached},
    io::{Device, irp::IrpParameters},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The actions, from `WMIREG_ACTION_REGISTER` to `WMIREG_ACTION_BLOCK_IRPS`.
const REGISTER: u32 = 1;
const DEREGISTER: u32 = 2;
const BLOCK_IRPS: u32 = 5;

impl Device {
    /// Sends an `IRP_MJ_SYSTEM_CONTROL` with a minor function for the provider of the bus driver, which the drivers above it pass down;
    /// returns its final status.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-wmi-requests)
    pub fn system_control(&self, minor: u8) -> NTSTATUS {
        let _attached = Attached::to(self.kernel());
        let call = Call::enter("WMI");
        let parameters = IrpParameters {
            provider: self.inner().pdo().addr(),
            ..IrpParameters::new(IRP_MJ_SYSTEM_CONTROL, minor)
        };
        let top = self.inner().top();
        let record = call.new_irp(top, parameters, None, &[], Vec::new());
        // SAFETY: the IRP was not sent yet.
        unsafe { nt::irp::set_status(record.raw(), STATUS_NOT_SUPPORTED) };
        let status = call.send_and_wait(top, &record);
        // The driver of a child is its bus driver.
        let is_child = self.kernel().io().devices.driver_of(self.inner().pdo());
        let is_passed = is_child.is_some() || record.reached_bus.load(Ordering::Relaxed);
        call.require(is_passed, Rule::WmiForward, || {
            let what = format!(
                "{record} is completed with {status:#x}, and was not passed down: it is for the provider of a lower driver. A driver \
                 that is no provider has a DispatchSystemControl routine too"
            );
            (BugCheck::io(0x220, [0, record.address() as u64, 0]), what)
        });
        status
    }
}

impl Call {
    /// Stops the system if a device object is deleted that is registered with WMI.
    pub(in crate::io) fn require_no_wmi(&self, device: *mut DEVICE_OBJECT) {
        let is_registered = locked(&self.kernel.io().wmi).contains(&device.addr());
        self.require(!is_registered, Rule::WmiRegistration, || {
            let what = format!(
                "the device object {device:?} is deleted, and was not deregistered from WMI with IoWMIRegistrationControl"
            );
            (BugCheck::verifier(0xdb, [device.addr() as u64, 0, 0]), what)
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoWMIRegistrationControl(device: *mut DEVICE_OBJECT, action: u32) -> NTSTATUS {
    let call = Call::enter("IoWMIRegistrationControl");
    call.require_at_most(0, Rule::IrqlIoPassive5, 0x2_000e);
    if !(REGISTER..=BLOCK_IRPS).contains(&action) {
        return STATUS_INVALID_PARAMETER;
    }
    call.require_live_device(device);
    let mut registered = locked(&call.kernel.io().wmi);
    let changes = match action {
        REGISTER => registered.insert(device.addr()),
        DEREGISTER => registered.remove(&device.addr()),
        _ => registered.contains(&device.addr()),
    };
    if changes {
        STATUS_SUCCESS
    } else {
        STATUS_INVALID_PARAMETER
    }
}
