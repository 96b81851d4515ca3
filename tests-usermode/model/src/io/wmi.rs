//! The registration of WMI data providers. In the model no program asks a provider for data, so WMI sends no request.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iowmiregistrationcontrol)

use nt::{DEVICE_OBJECT, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use crate::{
    host::Call,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The actions, from `WMIREG_ACTION_REGISTER` to `WMIREG_ACTION_BLOCK_IRPS`.
const REGISTER: u32 = 1;
const DEREGISTER: u32 = 2;
const BLOCK_IRPS: u32 = 5;

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
