//! The WMI library, WMILIB.SYS, and the events of providers. No program asks a provider of the model for data, so the library calls no
//! routine of a driver: each WMI request is for another provider, and is passed down.
//!
//! Microsoft's pages: [`WmiSystemControl`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wmilib/nf-wmilib-wmisystemcontrol),
//! [`WmiCompleteRequest`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wmilib/nf-wmilib-wmicompleterequest),
//! [`WmiFireEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wmilib/nf-wmilib-wmifireevent) and
//! [`IoWMIWriteEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iowmiwriteevent).

use std::ffi::c_void;

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, GUID, IRP, IRP_MJ_SYSTEM_CONTROL, NTSTATUS,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS,
};

use crate::{host::Call, mutex::locked, verifier::Rule};

/// The values of `SYSCTL_IRP_DISPOSITION` that the model gives; the first, 0, is `IrpProcessed`.
const NOT_COMPLETED: i32 = 1;
const NOT_WMI: i32 = 2;
const FORWARD: i32 = 3;

/// The minor functions of WMI, from `IRP_MN_QUERY_ALL_DATA` to `IRP_MN_EXECUTE_METHOD`, and `IRP_MN_REGINFO_EX`.
const LAST_MINOR: u8 = 9;
const REGINFO_EX: u8 = 0xb;

impl Call {
    /// Discards an event, and frees its block of the nonpaged pool.
    fn deliver(&self, event: *mut c_void) -> NTSTATUS {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        self.require_nonpaged(event);
        if self.kernel.fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        self.free_pool(event, 0);
        STATUS_SUCCESS
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn WmiSystemControl(
    _library: *mut c_void,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    disposition: *mut i32,
) -> NTSTATUS {
    let call = Call::enter("WmiSystemControl").at_most(0);
    call.require_live_device(device);
    call.require_room(disposition);
    let parameters = call.live_irp(irp).parameters();
    let is_wmi = parameters.minor <= LAST_MINOR || parameters.minor == REGINFO_EX;
    let (how, status) = if parameters.major != IRP_MJ_SYSTEM_CONTROL || !is_wmi {
        (NOT_WMI, STATUS_INVALID_DEVICE_REQUEST)
    } else if parameters.provider == device.addr() {
        // SAFETY: the driver has the IRP.
        unsafe { nt::irp::set_status(irp, STATUS_INVALID_DEVICE_REQUEST) };
        (NOT_COMPLETED, STATUS_INVALID_DEVICE_REQUEST)
    } else {
        (FORWARD, STATUS_SUCCESS)
    };
    // SAFETY: the caller passes memory for the disposition.
    unsafe { disposition.write(how) };
    status
}

/// Completes a request as the library's own code, which calls the kernel.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn WmiCompleteRequest(
    _device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    status: NTSTATUS,
    used: u32,
    boost: i8,
) -> NTSTATUS {
    let information = if status < 0 { 0 } else { used as usize };
    // SAFETY: the driver has the IRP.
    unsafe { nt::irp::set_information(irp, information) };
    // SAFETY: as above.
    unsafe { nt::irp::set_status(irp, status) };
    // SAFETY: as above.
    unsafe { nt::IofCompleteRequest(irp, boost) };
    status
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn WmiFireEvent(
    device: *mut DEVICE_OBJECT,
    guid: *const GUID,
    _instance: u32,
    size: u32,
    data: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter("WmiFireEvent").at_most(DISPATCH_LEVEL);
    call.require_live_device(device);
    call.require_nonpaged(guid);
    let is_registered = locked(&call.kernel.io().wmi).contains(&device.addr());
    call.require(is_registered, Rule::WmiRegistration, || {
        format!(
            "an event of {device:?} is sent, which is not registered with IoWMIRegistrationControl"
        )
    });
    call.require(data.is_null() == (size == 0), Rule::Pointer, || {
        format!("an event has {size} bytes of data at {data:?}: both are zero, or neither is")
    });
    if data.is_null() {
        STATUS_SUCCESS
    } else {
        call.deliver(data)
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoWMIWriteEvent(event: *mut c_void) -> NTSTATUS {
    let call = Call::enter("IoWMIWriteEvent");
    call.require_room(event.cast::<u64>());
    call.deliver(event)
}
